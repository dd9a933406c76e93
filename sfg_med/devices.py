# SPDX-License-Identifier: Apache-2.0
"""Which device and which number format."""

from __future__ import annotations

import platform
import re

import torch

from sfg_med.errors import SfgMedError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that is there.

    Raises:
        SfgMedError: for another name, or a GPU that is absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise SfgMedError("--device", "auto, cpu, cuda or cuda:N", repr(name), "choose one of them")
    device = torch.device(name)
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= count):
        raise SfgMedError(
            "--device", f"the GPU {name}", f"{count} usable GPUs", "use --device cpu, or check the driver"
        )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Turn ``auto`` into bf16 where the device has it in hardware (it keeps the range of fp32), else fp32.

    Raises:
        SfgMedError: for an unknown name.
    """
    if name not in PRECISIONS:
        raise SfgMedError("--precision", " or ".join(PRECISIONS), repr(name), "choose one of them")
    if name != "auto":
        return name
    return "bf16" if _has_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context in which the network computes in ``precision``; its weights stay as they are."""
    return torch.autocast(device.type, dtype=_DTYPES[precision], enabled=precision != "fp32")


def describe_device(device: torch.device) -> str:
    """Name of the hardware, for manifests."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public question for this; without an answer fp32 is always right
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, bool)() for question in questions)

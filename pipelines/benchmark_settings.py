# SPDX-License-Identifier: Apache-2.0
"""What all measurements are given, and the list of them."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfg_med.errors import SfgMedError

Measures = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What all entries are given.

    Args:
        model: model file, or None for the demonstration model.
        device: device name.
        precision: number format.
        threads: CPU threads; 0 leaves it to torch.
        turns: how often each of several compared actions is timed.
        widths: channels of the U-Nets' levels; five, for MONAI's BasicUNet.
        window: voxels of a window.
        shares: JSON file with the shares of compact networks.
        folder: scratch folder.
    """

    model: Path | None
    device: str
    precision: str
    threads: int
    turns: int
    widths: tuple[int, ...]
    window: tuple[int, ...]
    shares: Path
    folder: Path

    def model_file(self) -> Path:
        """The model, or the demonstration model."""
        from sfg_med.model_path import demonstration_model

        return self.model or demonstration_model()

    def predict_options(self) -> list[str]:
        """Device, precision and threads as options of ``sfg-med predict``."""
        options = {"--device": self.device, "--precision": self.precision, "--threads": self.threads}
        return [str(word) for pair in options.items() for word in pair]


ENTRIES: dict[str, Callable[[Settings], Measures]] = {}


def entry(function: Callable[[Settings], Measures]) -> Callable[[Settings], Measures]:
    """Register a measurement under its function's name."""
    ENTRIES[function.__name__] = function
    return function


def call_sfg_med(arguments: Sequence[Any]) -> tuple[float, int, str]:
    """Seconds, peak resident bytes and stdout of one ``sfg-med`` call in a process of its own.

    Raises:
        SfgMedError: if it fails.
    """
    # The child reports its own peak: that of RUSAGE_CHILDREN would be the largest of all children so far.
    code = (
        "import sys, sfg_med.cli.main as m\n"
        "from pipelines.benchmark_settings import peak_bytes\n"
        "try:\n    m.main()\n"
        "finally:\n    print(peak_bytes(), file=sys.stderr)"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    lines = result.stderr.strip().splitlines()
    if result.returncode:
        found = f"{result.returncode}: {' '.join(lines[-3:])}"
        raise SfgMedError(f"sfg-med {arguments[0]}", "exit code 0", found, "see there")
    return seconds, int(lines[-1]), result.stdout


def peak_bytes() -> int:
    """Peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would start at what the parent had when it made this process
        (line,) = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    # in KiB, on macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def man(path: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int = 0) -> Path:
    """MR of a simulated man, stretched over a grid: how air, edges and organs compress and are measured has a price."""
    import nibabel as nib
    from scipy.ndimage import zoom

    from sfg_med.data.simulation import simulate_case

    small = simulate_case(seed, (4.0, 4.0, 4.0)).mr
    image = zoom(small, np.divide(shape, small.shape), np.int16, order=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, np.diag([*spacing, 1.0])), path)
    return path

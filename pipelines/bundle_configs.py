# SPDX-License-Identifier: Apache-2.0
"""The bundle's configs and metadata with a model's own tasks, grid and network in place of the defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sfg_med import __version__
from sfg_med.model_file import LoadedModel
from sfg_med.spec import ImageTask, LabelTask, ModelSpec, Task
from sfg_med.training.start import initial_settings

NAMES = ("train.yaml", "evaluate.yaml", "inference.yaml", "multi_gpu_train.yaml", "randomised.yaml", "logging.conf")


def bundle_configs(model: LoadedModel, folder: Path) -> dict[str, str]:
    """Name of each config to its text.

    Args:
        model: the model.
        folder: where the project's configs are.
    """
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in NAMES}
    texts["train.yaml"] = set_keys(texts["train.yaml"], initial_settings(str(model.path)))
    spec = model.spec.to_dict()  # inference builds the network from one entry: strategy and variance stay in it
    if not model.metadata.get("checks", {}).get("bf16", {}).get("accepted", True):
        spec["precision"] = "fp32"  # what sfg-med export has measured
    texts["inference.yaml"] = set_keys(texts["inference.yaml"], spec)
    return texts


def set_keys(text: str, values: Mapping[str, Any]) -> str:
    """Give keys at the top of a YAML text other values; all other lines and comments stay.

    Raises:
        ValueError: if a key is not there exactly once.
    """
    for key, value in values.items():
        plain = json.loads(json.dumps(value))  # tuples become lists
        line = f"{key}: {yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10**6)}"
        line = line.removesuffix("...\n").rstrip() + "\n"
        new = line.replace("\\", r"\\")  # a backslash means something in a replacement
        text, count = re.subn(rf"^{key}:.*\n(?:[ -].*\n)*", new, text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"{key} is there {count} times")
    return text


def bundle_metadata(model: LoadedModel, folder: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata.json`` of the bundle.

    Args:
        model: the model.
        folder: where the project's configs are.
        more: entries that replace those of the project, such as ``name`` and ``description``.
    """
    data: dict[str, Any] = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    spec, channels = model.spec, channel_names(model.spec)
    data["required_packages_version"]["sfg-med"] = __version__
    data["data_source"] = data_source(model)
    data["pred_classes"] = "; ".join(f"channel {i}: {name}" for i, name in enumerate(channels))
    image, output = data["network_data_format"]["inputs"]["image"], data["network_data_format"]["outputs"]["pred"]
    image["spatial_shape"] = output["spatial_shape"] = list(spec.patch_size)
    image["num_channels"] = spec.network.get("in_channels", 1)
    output["num_channels"] = len(channels)
    output["channel_def"] = {str(i): name for i, name in enumerate(channels)}
    return {**data, **more}


def channel_names(spec: ModelSpec) -> list[str]:
    """What each output channel of the network is."""
    return [name for task in spec.tasks for name in _channels(task)]


def data_source(model: LoadedModel) -> str:
    """What a model was trained on, by its own account."""
    made = model.metadata.get("provenance", {})
    count = len(made.get("train", []))
    if is_simulated(model):
        return f"{count} simulated patients (sfg-med simulate); no real one"
    return f"{count} cases of {', '.join(made.get('dataset', [])) or 'a dataset that the file does not name'}"


def is_simulated(model: LoadedModel) -> bool:
    """Whether all that trained it was simulated, by its own account."""
    return list(model.metadata.get("provenance", {}).get("dataset", [])) == ["simulated"]


def _channels(task: Task) -> list[str]:
    if isinstance(task, LabelTask):
        return [f"logit of {label}" for label in ("background", *task.labels)]
    if isinstance(task, ImageTask):
        value = f"({task.unit} - {task.offset:g})" if task.offset else task.unit
        return [f"synthetic {task.name.upper()}, {value} / {task.scale:g}"]
    return [f"{task.name} {i}" for i in range(task.channels)]

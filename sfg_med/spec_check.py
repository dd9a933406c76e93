# SPDX-License-Identifier: Apache-2.0
"""What a specification may say: names that make safe file names, numbers that fit into files and into a computer.

A model file may come from anybody. Names of tasks become parts of file names, and the network is built before its
weights are seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfg_med.spec import ModelSpec

DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
LARGEST_LABEL = 65535
LARGEST_PATCH = 4096
LARGEST_NUMBER = 16384
"""In a network's arguments: channels, kernel sizes, strides."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}")


def check_spec(spec: ModelSpec) -> None:
    """Check the names and numbers of a specification.

    Raises:
        ValueError: for the first that cannot be; one line.
    """
    names = [task.name for task in spec.tasks]
    for name in (*names, spec.input_name):
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise ValueError(f"name {name!r}: letters, digits, _, + and - make a name, at most 64")
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"tasks {names}: one or more, each with a name of its own")
    for number in spec.spacing_mm:
        _check(0 < _finite(number) <= 1000, f"spacing_mm {spec.spacing_mm}")
    for number in spec.patch_size:
        _check(number == int(number) and 1 <= number <= LARGEST_PATCH, f"patch_size {spec.patch_size}")
    for value in spec.value_tasks:
        _check_scale(value.offset, value.scale)
    for image in spec.image_tasks:
        _check_scale(image.offset, image.scale)
        low, high = image.value_range
        _check(_finite(low) < _finite(high), f"value_range {image.value_range}")
        _finite(image.fill)
        _check(image.dtype in DTYPES, f"dtype {image.dtype!r}, not among {', '.join(DTYPES)},")
    for labels in spec.label_tasks:
        _words(labels.labels)
        values = list(labels.labels.values())
        whole = all(isinstance(v, int) and 1 <= v <= LARGEST_LABEL for v in values)
        _check(whole and len(set(values)) == len(values), f"labels {dict(labels.labels)}")
    for classes in spec.class_tasks:
        _words(classes.classes)
    _check_numbers(spec.network)


def _check(fine: bool, what: str) -> None:
    if not fine:
        raise ValueError(f"{what} cannot be")


def _finite(number: float) -> float:
    _check(math.isfinite(number), f"number {number}")
    return number


def _check_scale(offset: float, scale: float) -> None:
    _check(math.isfinite(offset) and _finite(scale) != 0, f"offset {offset}, scale {scale}")


def _words(names: Iterable[str]) -> None:
    """Names of organs and classes: they stand in tables and pages, and no path is made of them."""
    for name in names:
        _check(isinstance(name, str) and 0 < len(name) <= 64 and name.isprintable(), f"name {name!r}")


def _check_numbers(value: Any, depth: int = 0) -> None:
    """No network is as deep or wide as to be built of larger ones."""
    _check(depth <= 16, "a network nested so deep")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            _check_numbers(part, depth + 1)
    elif isinstance(value, int | float):
        _check(abs(_finite(value)) <= LARGEST_NUMBER, f"number {value} in the network")

# SPDX-License-Identifier: Apache-2.0
"""Where the model is when the user does not say, or names a folder."""

from __future__ import annotations

import os
from pathlib import Path

import sfg_med
from sfg_med.errors import SfgMedError

VARIABLE = "SFG_MED_MODEL"
WORD = "demonstration"
DEMONSTRATION = f"{WORD}.safetensors"
_NAMES = ("models/model.safetensors", "model.safetensors")
_REMEDY = "make one with 'sfg-med train', and give it with -m"


def demonstration_model() -> Path:
    """The shipped model, trained on simulated patients: under ``models`` in a checkout, in the package in a wheel."""
    package = Path(sfg_med.__file__).parent
    beside = package.parent / "models" / DEMONSTRATION
    return beside if beside.is_file() else package / "_models" / DEMONSTRATION


def find_model(given: Path | None = None) -> Path:
    """Find the model file.

    Args:
        given: a model file, a folder (bundle or training run) that holds ``models/model.safetensors`` or
            ``model.safetensors``, or the word ``demonstration`` for the shipped model. Without it the environment
            variable ``SFG_MED_MODEL`` counts, then the shipped demonstration model.

    Raises:
        SfgMedError: if there is none.
    """
    if given == Path(WORD) and not given.exists():
        given = demonstration_model()
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else demonstration_model())
    if named.is_dir():
        inside = next((named / name for name in _NAMES if (named / name).is_file()), None)
        if inside is None:
            raise SfgMedError(named, f"a folder with {' or '.join(_NAMES)}", "neither", _REMEDY)
        return inside
    if not named.is_file():
        raise SfgMedError(named, "a model file", "no such file", _REMEDY)
    return named

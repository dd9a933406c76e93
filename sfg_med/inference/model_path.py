# SPDX-License-Identifier: Apache-2.0
"""Where the model is when the user does not say, or names a folder."""

from __future__ import annotations

import os
from pathlib import Path

from sfg_med.errors import SfgMedError

VARIABLE = "SFG_MED_MODEL"
_NAMES = ("models/model.safetensors", "model.safetensors")
_REMEDY = "make one with 'sfg-med demo' or 'sfg-med train', and give it with -m"


def find_model(given: Path | None = None) -> Path:
    """Find the model file.

    Args:
        given: a model file, or a folder (bundle or training run) that holds ``models/model.safetensors`` or
            ``model.safetensors``. Without it the environment variable ``SFG_MED_MODEL`` counts, then
            ``models/model.safetensors`` in the current folder.

    Raises:
        SfgMedError: if there is none.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        default = Path(_NAMES[0])
        if default.is_file():
            return default
        raise SfgMedError("-m", f"a model, since neither {VARIABLE} nor ./{default} exists", "none", _REMEDY)
    if named.is_dir():
        inside = next((named / name for name in _NAMES if (named / name).is_file()), None)
        if inside is None:
            raise SfgMedError(named, f"a folder with {' or '.join(_NAMES)}", "neither", _REMEDY)
        return inside
    if not named.is_file():
        raise SfgMedError(named, "a model file", "no such file", _REMEDY)
    return named

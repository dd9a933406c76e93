# SPDX-License-Identifier: Apache-2.0
"""Where the shipped configs are."""

from __future__ import annotations

from pathlib import Path

import sfg_med


def config_dir() -> Path:
    """Folder of the shipped configs: in a checkout beside the package, in an installed wheel inside it."""
    package = Path(sfg_med.__file__).parent
    beside = package.parent / "configs"
    return beside if (beside / "train.yaml").is_file() else package / "_configs"

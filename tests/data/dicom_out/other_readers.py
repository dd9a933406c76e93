# SPDX-License-Identifier: Apache-2.0
"""Programs that share no code with the writer: plastimatch for structure sets, dcmqi (DCMTK) for segmentations."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813


def program(name: str) -> str:
    """Path of an installed program; skips the test where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed: pip install plastimatch dcmqi")


def structure_set_masks(file: Path, grid: sitk.Image, folder: Path) -> dict[str, np.ndarray]:
    """Name of each structure that has contours to its (X, Y, Z) mask, by plastimatch."""
    sitk.WriteImage(grid, str(folder / "grid.nrrd"))
    words = ["--input", file, "--fixed", folder / "grid.nrrd", "--output-prefix", folder / "masks"]
    _run(program("plastimatch"), "convert", *words, "--prefix-format", "nrrd")
    found = {path.stem: sitk.ReadImage(str(path)) for path in sorted((folder / "masks").glob("*.nrrd"))}
    for image in found.values():
        assert image.GetSize() == grid.GetSize()
        np.testing.assert_allclose(image.GetOrigin(), grid.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(image.GetDirection(), grid.GetDirection(), atol=1e-5)
    return {name: sitk.GetArrayFromImage(image).T > 0 for name, image in found.items()}


def segmentation_masks(file: Path, folder: Path) -> dict[str, tuple[sitk.Image, dict]]:
    """Label of each segment to its mask, where it lies, and what is said of it, by dcmqi."""
    folder.mkdir()
    words = ["--inputDICOM", file, "--outputDirectory", folder, "--outputType", "nrrd"]
    _run(program("segimage2itkimage"), *words)
    groups = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    return {
        about["SegmentLabel"]: (sitk.ReadImage(str(folder / f"{number}.nrrd")) == about["labelID"], about)
        for number, group in enumerate(groups, 1)
        for about in group
    }


def _run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]

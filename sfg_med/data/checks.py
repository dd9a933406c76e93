# SPDX-License-Identifier: Apache-2.0
"""Is this a volume that can be worked with? Every "no" is one clear line."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfg_med.errors import SfgMedError

# A whole body is two metres; more means that millimetres were taken for something else.
MAX_EXTENT_MM = 3000.0
MIN_SPACING_MM = 0.01
# A scanner's origin is within metres; beyond a hundred of them the corners of voxels are lost to rounding.
MAX_ORIGIN_MM = 1e5
# A whole body in CT: 512 x 512 x 2048. It takes 2 GiB as float32.
MAX_VOXELS = 1 << 29
# Sums of squares, and products with interpolation weights, stay far inside float32 or what float64 makes of it.
MIN_SCALE, MAX_SCALE = 1e-30, 1e30


def check_shape(path: Path, shape: tuple[int, ...], role: str) -> tuple[int, int, int]:
    """Spatial shape of a volume that may have further axes of length one.

    Args:
        path: file, for the message.
        shape: shape as stored.
        role: what the file is ("MR"), for the message.

    Raises:
        SfgMedError: for an empty, two-dimensional or several-frame array, and for more than ``MAX_VOXELS`` voxels or
            what ``SFG_MED_MAX_VOXELS`` says.
    """
    if len(shape) < 3:
        raise SfgMedError(
            path, f"a 3D {role} volume", f"a {len(shape)}D image of shape {shape}", "stack the slices first"
        )
    if 0 in shape:
        raise SfgMedError(path, f"a {role} volume", f"an empty one of shape {shape}", "export it again")
    if any(length != 1 for length in shape[3:]):
        raise SfgMedError(
            path,
            f"one 3D {role} volume",
            f"several frames or channels (shape {shape})",
            "give one frame a file",
        )
    if math.prod(shape) > _max_voxels():
        found = f"one of shape {shape}"
        remedy = "crop it, or set SFG_MED_MAX_VOXELS if the memory suffices"
        raise SfgMedError(path, f"a {role} volume of at most {_max_voxels()} voxels", found, remedy)
    return shape[0], shape[1], shape[2]


def check_zooms(path: Path, zooms: NDArray[np.floating]) -> None:
    """Refuse a voxel size that is zero, negative or not a number.

    Args:
        path: file, for the message.
        zooms: (3,) voxel size as stored, in any unit.
    """
    if not (np.all(np.isfinite(zooms)) and np.all(zooms > 0)):
        found = f"a voxel size of {_numbers(zooms)}"
        raise SfgMedError(path, "a positive voxel size along every axis", found, "correct the header")


def check_affine(path: Path, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> None:
    """Refuse a voxel-to-world matrix that cannot be inverted or has an impossible scale.

    Args:
        path: file, for the message.
        affine: (4, 4) voxel to RAS millimetres.
        shape: voxels along the three axes.
    """
    if not np.all(np.isfinite(affine)):
        raise SfgMedError(path, "a finite affine", "NaN or Inf in it", "correct the header")
    with np.errstate(all="ignore"):  # of garbage: an overflow makes an impossible extent
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        extent = spacing * np.asarray(shape)
        volume = abs(np.linalg.det(affine[:3, :3] / spacing))
    if not volume >= 1e-3 and np.all(np.isfinite(spacing)):
        raise SfgMedError(path, "an affine that can be inverted", "a singular one", "correct the sform or qform")
    if np.any(spacing < MIN_SPACING_MM) or np.any(extent > MAX_EXTENT_MM):
        found = f"voxels of {_numbers(spacing)} mm and a field of view of {_numbers(extent)} mm"
        raise SfgMedError(path, "the size of a patient", found, "correct the voxel size or its unit in the header")
    if np.any(np.abs(affine[:3, 3]) > MAX_ORIGIN_MM):
        expected = f"an origin within {MAX_ORIGIN_MM / 1000:g} m of the scanner's"
        raise SfgMedError(path, expected, f"{_numbers(affine[:3, 3])} mm", "correct the origin in the header")


def check_values(path: Path, array: NDArray[np.generic], role: str, *, blank_ok: bool = False) -> None:
    """Refuse NaN, Inf, values that float32 cannot compute with and (unless ``blank_ok``) an image of one value.

    Args:
        path: file, for the message.
        array: (X, Y, Z) voxel values.
        role: what the file is ("MR"), for the message.
    """
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(array.size - np.isfinite(array).sum())
        raise SfgMedError(
            path, "finite voxel values", f"{count} that are NaN, Inf or beyond float32", "repair the image"
        )
    scale = max(abs(float(low)), abs(float(high)))
    if scale > MAX_SCALE or (scale < MIN_SCALE and low != high):
        expected = f"voxel values between {MIN_SCALE:g} and {MAX_SCALE:g} in size"
        raise SfgMedError(path, expected, f"values of up to {scale:g}", "rescale the image")
    if low == high and not blank_ok:
        found = f"the value {low:g} in every voxel"
        raise SfgMedError(path, f"a {role} image", found, "check the export: the image is blank")


def check_dtype(path: Path, dtype: np.dtype) -> None:
    """Refuse colour and complex voxels."""
    if dtype.kind not in "iufb":
        found = "colour voxels" if dtype.fields else f"voxels of type {dtype.name}"
        raise SfgMedError(path, "one real number a voxel", found, "convert to a grey-scale magnitude image")


def _max_voxels() -> int:
    text = os.environ.get("SFG_MED_MAX_VOXELS", str(MAX_VOXELS))
    if not text.isdecimal():
        raise SfgMedError("SFG_MED_MAX_VOXELS", "a number of voxels", text, "correct the environment variable")
    return int(text)


def _numbers(values: NDArray[np.floating]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)

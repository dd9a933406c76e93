# SPDX-License-Identifier: Apache-2.0
"""Read a series as a volume."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import pixel_array

from sfg_med.data.checks import check_affine, check_shape, check_values
from sfg_med.data.dicom.geometry import ras_affine
from sfg_med.data.dicom.series import Series
from sfg_med.data.dicom.slices import Slice
from sfg_med.data.volumes import Volume
from sfg_med.errors import SfgMedError

_SCANNER = 1


def read_series(series: Series, *, role: str = "MR") -> Volume:
    """Read the voxels of a series, with slope and intercept applied.

    Values are integers as stored, or shifted by a whole intercept; other scales give float32. Slices lie along their
    normal, so that the array is that of ITK's reader.

    Args:
        series: one without a ``reason``.
        role: what the image is, for messages; a CT where an MR is wanted is flagged ``modality:CT``.

    Returns:
        The volume, (columns, rows, slices).

    Raises:
        SfgMedError: in one line, for a series that has a reason, and for damaged, blank or infinite pixels.
    """
    if series.reason:
        raise SfgMedError(
            series.path, f"a DICOM series that is one {role} volume", series.reason, "see docs/how-to/dicom.md"
        )
    affine = ras_affine(series.slices)
    rows, columns = series.slices[0].shape
    shape = check_shape(series.path, (columns, rows, len(series.slices)), role)
    check_affine(series.path, affine, shape)
    array = _stack(series.slices)
    check_values(series.path, array, role)
    notes = (f"modality:{series.modality}",) if role in ("MR", "CT") and role != series.modality else ()
    return Volume(array, affine, _geometry(affine, shape), shape, series.path, "dicom", notes)


def _geometry(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, _SCANNER)
    header.set_qform(affine, _SCANNER)
    return header


def _stack(slices: tuple[Slice, ...]) -> NDArray[Any]:
    """(columns, rows, slices) values; a multi-frame file is decoded once."""
    planes, frames = [], Counter(s.file for s in slices)
    for file, members in groupby(slices, key=lambda s: s.file):
        stored = np.atleast_3d(_pixels(file).T)  # (columns, rows, frames)
        if stored.shape != (*slices[0].shape[::-1], frames[file]):
            raise SfgMedError(file, "pixels as the headers say", "other sizes", "export it again")
        planes += [_rescaled(stored[:, :, s.frame].T, s) for s in members]
    return np.stack(planes).T  # the type that holds all of them


def _pixels(file: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # a row or more than the header says would be cut off
            warnings.filterwarnings("error", r".*contains \d{4,} bytes of excess padding")
            return pixel_array(dcmread(file, force=True))
    except Exception as error:  # decoders raise whatever they like
        found = f"damaged ones ({' '.join(str(error).split())[:120] or type(error).__name__})"
        raise SfgMedError(file, "readable pixels", found, "copy or export it again") from error


def _rescaled(stored: NDArray[Any], plane: Slice) -> NDArray[np.generic]:
    slope, intercept = plane.rescale
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if slope == 1.0 and intercept.is_integer() and abs(intercept) < 1 << 24:
        low, high = int(stored.min()) + intercept, int(stored.max()) + intercept
        fits = low >= -32768 and high <= 32767
        return (stored.astype(np.int32) + int(intercept)).astype(np.int16 if fits else np.int32)
    with np.errstate(all="ignore"):  # NaN and Inf are refused with all other values
        return (stored * slope + intercept).astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""Read a dose grid: a volume in Gy, or DICOM RTDOSE."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from sfg_med.data.checks import check_affine, check_shape, check_values
from sfg_med.data.volumes import read_volume, volume_suffix
from sfg_med.errors import SfgMedError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes point to the patient's left and back


@dataclass(frozen=True)
class Dose:
    """A dose grid.

    Args:
        array: ``(X, Y, Z)`` in Gy, axes as near as can be to right, anterior, superior.
        affine: ``(4, 4)`` voxel index to RAS millimetres.
        path: where it was read from.
    """

    array: NDArray[np.float64] = field(repr=False)
    affine: NDArray[np.float64]
    path: Path

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Voxel size along the array's axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def read_dose(path: Path) -> Dose:
    """Read a dose grid.

    Args:
        path: a volume whose values are Gy, or an RTDOSE file (any other suffix), which needs pydicom.

    Raises:
        SfgMedError: for a file that is no dose.
    """
    if volume_suffix(path) or not path.is_file():
        volume = read_volume(path, role="dose", blank_ok=True)
        array, affine = volume.array, volume.affine
    else:
        array, affine = _read_rtdose(path)
        check_affine(path, affine, check_shape(path, array.shape, "dose"))
        check_values(path, array, "dose", blank_ok=True)
    image = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(array, np.float64), affine))
    dose = np.asarray(image.dataobj, np.float64)
    if dose.min() < 0:
        raise SfgMedError(
            path, "a dose in Gy", f"negative values down to {dose.min():.3g}", "give a dose, not a difference"
        )
    return Dose(dose, np.asarray(image.affine, np.float64), path)


def _read_rtdose(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        import pydicom
    except ImportError as error:
        raise SfgMedError("RTDOSE", "the package pydicom", "none", "pip install 'sfg-med[dose]'") from error
    try:
        data = pydicom.dcmread(path)
        if data.Modality != "RTDOSE":
            raise SfgMedError(path, "an RTDOSE file", f"modality {data.Modality}", "give the dose of the plan")
        if data.DoseUnits != "GY":
            raise SfgMedError(path, "a dose in Gy", f"units {data.DoseUnits}", "export the absolute dose")
        frames = np.asarray(data.pixel_array, np.float64) * float(data.DoseGridScaling)
        offsets = np.asarray(data.GridFrameOffsetVector, np.float64)
        orientation = np.asarray(data.ImageOrientationPatient, np.float64).reshape(2, 3)
        first, (row_mm, column_mm) = np.asarray(data.ImagePositionPatient, np.float64), map(float, data.PixelSpacing)
    except SfgMedError:
        raise
    except Exception as error:  # pydicom raises whatever a value of a damaged file leads to
        found = str(error)[:200] or type(error).__name__
        raise SfgMedError(path, "an RTDOSE file with a 3-D grid", found, "export it again") from error
    steps = np.diff(offsets)
    if frames.ndim != 3 or not len(steps) or np.ptp(steps) > 1e-3 * abs(steps[0]):
        raise SfgMedError(path, "planes at equal distances", f"offsets {offsets[:4]}", "export a regular grid")
    affine = np.eye(4)
    normal = np.cross(*orientation)
    affine[:3, :3] = np.stack([orientation[0] * column_mm, orientation[1] * row_mm, normal * steps[0]], 1)
    affine[:3, 3] = first
    return frames.transpose(2, 1, 0), _TO_RAS @ affine

# SPDX-License-Identifier: Apache-2.0
"""Write a volume as a DICOM series, with pydicom, from the standard's definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid


def write_series(
    folder: Path, array: np.ndarray, affine: np.ndarray, modality: str, description: str, drop: tuple[int, ...] = ()
) -> None:
    """Write one file a slice; CT numbers are stored with an intercept of -1024.

    Args:
        folder: made if absent.
        array: int16 ``(X, Y, Z)``.
        affine: voxel to RAS mm.
        modality: ``MR`` or ``CT``.
        description: of the series.
        drop: slices that are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = lps[:3, :3] / spacing
    uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    intercept = -1024 if modality == "CT" else 0
    for z in (z for z in range(array.shape[2]) if z not in drop):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.SeriesInstanceUID, image.StudyInstanceUID, image.FrameOfReferenceUID = uid, study, frame
        image.Modality, image.SeriesDescription, image.SeriesNumber = modality, description, 1
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.InstanceNumber = z + 1
        image.ImagePositionPatient = [f"{v:.6f}" for v in (lps @ (0, 0, z, 1))[:3]]
        # the first three are the direction along a row, which is the array's first axis
        image.ImageOrientationPatient = [f"{v:.6f}" for v in (*cosines[:, 0], *cosines[:, 1])]
        image.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        image.SliceThickness = f"{spacing[2]:.6f}"
        image.Rows, image.Columns = array.shape[1], array.shape[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleSlope, image.RescaleIntercept = 1, intercept
        image.PixelData = (array[:, :, z].T - intercept).astype("<i2").tobytes()
        pydicom.dcmwrite(folder / f"{z:03d}.dcm", image, enforce_file_format=True)

# SPDX-License-Identifier: Apache-2.0
"""A synthetic CT as a CT series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from sfg_med.data.dicom_out.files import WARNING, Kind, Mark, new_file, save
from sfg_med.data.dicom_out.identity import make_uid
from sfg_med.data.dicom_out.source import Source, decimal, references
from sfg_med.spec import ImageTask

SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")


def write_ct(folder: Path, hu: NDArray[Any], source: Source, task: ImageTask, mark: Mark) -> tuple[Dataset, ...]:
    """Write one file a slice: ``0001.dcm``, ...

    Args:
        folder: an empty folder.
        hu: (X, Y, Z) whole numbers in HU, in the grid of the source.
        source: the series it was made of.
        task: its lowest value becomes the intercept.
        mark: series number, hash of the content and model.

    Returns:
        The slices without pixels, to refer to.
    """
    kind = Kind(str(CTImageStorage), "CT", "synthetic CT")
    series_uid = make_uid(mark.content, "series")
    intercept = int(np.floor(min(task.value_range[0], float(hu.min()))))
    written = []
    for index, image in enumerate(source.images):
        dataset = new_file(source, kind, mark.number, series_uid, make_uid(series_uid, str(index)))
        _describe(dataset, image, source, index, mark.model)
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = intercept, 1, "HU"
        pixels = np.ascontiguousarray((hu[:, :, index].T.astype(np.int32) - intercept).astype("<u2"))
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        save(dataset, folder / f"{index + 1:04d}.dcm")
        del dataset.PixelData
        written.append(dataset)
    return tuple(written)


def _describe(dataset: Dataset, image: Dataset, source: Source, index: int, model: str) -> None:
    """General Image, Image Plane, Image Pixel and CT Image, but for the pixels and their scale."""
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.InstanceNumber = index + 1
    dataset.AcquisitionNumber = None
    dataset.PatientPosition = source.position
    dataset.DerivationDescription = f"synthetic CT, {WARNING}; predicted from MR by sfg_med, model {model[:16]}"
    dataset.SourceImageSequence = references([image], SOURCE_IMAGE)
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.KVP = None
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        setattr(dataset, name, image[name].value)
    dataset.SliceThickness = decimal(source.distance_mm)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.WindowCenter, dataset.WindowWidth = 40, 400

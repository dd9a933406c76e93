# SPDX-License-Identifier: Apache-2.0
"""DICOM series written slice by slice from an array and an affine: what the reader is tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

Change = Callable[[Dataset, int], None]


def oblique_affine(
    spacing: tuple[float, float, float] = (1.1, 1.3, 3.0), tilt: float = 0.3, turn: float = 0.2, flip: bool = False
) -> np.ndarray:
    """(4, 4) RAS affine of slices tilted about x and turned about z; ``flip``: the rows run the other way."""
    cx, sx, cz, sz = np.cos(tilt), np.sin(tilt), np.cos(turn), np.sin(turn)
    cosines = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    if flip:
        cosines = cosines @ np.diag([-1.0, 1.0, -1.0])
    affine = np.eye(4)
    affine[:3, :3] = cosines * spacing
    affine[:3, 3] = (-11.25, 23.5, -42.125)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def write_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    modality: str = "MR",
    description: str = "t2_tse_tra",
    uid: str = "series",
    rescale: tuple[float, float] | None = None,
    name: str = "{:03d}.dcm",
    patient: str = "Mustermann^Jörg",
    change: Change | None = None,
) -> Path:
    """Write one file a slice, the files' names and numbers in an order of their own.

    Args:
        folder: made if absent.
        array: (X, Y, Z) stored values, 16 bits.
        affine: (4, 4) to RAS.
        modality: MR or CT.
        description: of the series.
        uid: what its UIDs are made of.
        rescale: slope and intercept.
        name: of the files.
        patient: name.
        change: called with each dataset and the index of its slice before it is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    order = np.random.default_rng(0).permutation(array.shape[2])
    for index in range(array.shape[2]):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(index)])
        ds.SeriesInstanceUID = generate_uid(entropy_srcs=[uid])
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["study"]), "1.2.3.4"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = patient, "4711", "19500102", "M"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240506", "070809", "S1", "A99"
        ds.ReferringPhysicianName, ds.InstitutionName = "Doe^Jane", "Hospital"
        ds.Modality, ds.SeriesDescription, ds.SeriesNumber = modality, description, 4
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.PatientPosition, ds.InstanceNumber = "HFS", int(order[index]) + 1
        ds.ImageOrientationPatient = [f"{v:.11f}"[:16] for v in (lps[:3, :2] / spacing[:2]).T.ravel()]
        ds.ImagePositionPatient = [f"{v:.11f}"[:16] for v in lps[:3, 3] + index * lps[:3, 2]]
        ds.PixelSpacing = [f"{spacing[1]:.12g}", f"{spacing[0]:.12g}"]
        ds.SliceThickness = f"{spacing[2]:.12g}"
        ds.Rows, ds.Columns = array.shape[1], array.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = int(array.dtype.kind == "i")
        ds.PixelData = np.ascontiguousarray(array[:, :, index].T).tobytes()
        ds["PixelData"].VR = "OW"
        if rescale:
            ds.RescaleSlope, ds.RescaleIntercept = rescale
        if change:
            change(ds, index)
        save(ds, folder / name.format(order[index]))
    return folder


def write_frames(folder: Path, array: np.ndarray, affine: np.ndarray, order: Sequence[int]) -> Path:
    """Write one Enhanced MR: frame ``i`` is slice ``order[i]``, which has its number as intercept."""
    slices: list[Dataset] = []
    write_series(folder / "single", array, affine, change=lambda ds, index: slices.append(ds))
    ds, shared = slices[0], Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = ds.ImageOrientationPatient, ds.PixelSpacing
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames, pixels = [], b""
    for number in order:
        frame, position, scale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = slices[number].ImagePositionPatient
        scale.RescaleSlope, scale.RescaleIntercept = 1, number
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [scale]
        frames.append(frame)
        pixels += slices[number].PixelData
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.NumberOfFrames, ds.PixelData, ds.SOPClassUID = len(order), pixels, EnhancedMRImageStorage
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        delattr(ds, name)
    (folder / "multi").mkdir()
    save(ds, folder / "multi" / "frames.dcm")
    return folder / "multi"


def save(ds: Dataset, path: Path) -> None:
    """Write a dataset in explicit VR, little endian, or as it was compressed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    ds.save_as(path, enforce_file_format=True)

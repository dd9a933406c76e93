# SPDX-License-Identifier: Apache-2.0
"""Are the files what the standard asks for, who is in them, and what becomes of folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from sfg_med.data.dicom_out.identity import Identity
from sfg_med.data.dicom_out.results import dicom_files, is_deidentified, remove_results, write_results
from sfg_med.errors import SfgMedError
from sfg_med.spec import ImageTask, ModelSpec
from tests.data.dicom_out.conftest import MODEL, write_case

FILES = ("ct/0001.dcm", "ct/0012.dcm", "seg_rtstruct.dcm", "seg.dcm")
# What is written although the standard does not require it (type 3, or of an optional module).
_ANY = {"SeriesDescription"}
_WRITER = {"ManufacturerModelName", "SoftwareVersions"}
_CODE = "RTROIObservationsSequence/RTROIIdentificationCodeSequence"
_MAKER = "ContributingEquipmentSequence"  # highdicom's name and version
ON_PURPOSE = {
    "CT": {
        *(_ANY | _WRITER),
        "DerivationDescription",
        "SourceImageSequence",
        "SourceImageSequence/PurposeOfReferenceCodeSequence",
        "BurnedInAnnotation",
        "LossyImageCompression",
        "WindowCenter",
        "WindowWidth",
    },
    "RTSTRUCT": {
        *(_ANY | _WRITER),
        "InstanceNumber",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "StructureSetDescription",
        "ReferencedFrameOfReferenceSequence",
        "ReferencedFrameOfReferenceSequence/RTReferencedStudySequence",
        "StructureSetROISequence",
        "ROIContourSequence",
        "ROIContourSequence/ROIDisplayColor",
        "ROIContourSequence/ContourSequence",
        "ROIContourSequence/ContourSequence/ContourImageSequence",
        "RTROIObservationsSequence",
        _CODE,
        f"{_CODE}/SegmentedPropertyTypeModifierCodeSequence",
        "ApprovalStatus",
    },
    "SEG": {
        *_ANY,
        "SourceImageSequence",
        _MAKER,
        *(f"{_MAKER}/{name}" for name in (*_WRITER, "ContributionDescription")),
        "DimensionIndexSequence/DimensionDescriptionLabel",
        "SegmentSequence/SegmentationAlgorithmIdentificationSequence",
        "SegmentSequence/RecommendedDisplayCIELabValue",
        "SegmentSequence/SegmentedPropertyTypeCodeSequence/SegmentedPropertyTypeModifierCodeSequence",
        "SegmentsOverlap",
        "PresentationLUTShape",
        "PerFrameFunctionalGroupsSequence/DerivationImageSequence/SourceImageSequence/SpatialLocationsPreserved",
    },
}


def _items(ds: Dataset, path: list[str]) -> list[Dataset]:
    """The items that a path of sequences leads to, as many as there are."""
    items = [ds]
    for name in path:
        items = [child for item in items for child in item.get(name) or []]
    return items


def _breaches(ds: Dataset) -> list[str]:
    """Attributes of mandatory modules that are missing, or empty where they must not be."""
    found = []
    for module in get_iod_module_map()[get_sop_class_iod_map()[ds.SOPClassUID]]:
        if module["usage"] != "M":
            continue
        for attribute in get_module_attribute_map()[module["key"]]:
            # the table does not say which of the functional groups a file needs; those that are there are checked
            if attribute["path"] in (["SharedFunctionalGroupsSequence"], ["PerFrameFunctionalGroupsSequence"]):
                continue
            for item in _items(ds, attribute["path"]):
                name, kind = attribute["keyword"], attribute["type"]
                if kind in ("1", "2") and name not in item:
                    found.append(f"{module['key']}: no {'/'.join([*attribute['path'], name])}")
                elif kind == "1" and item[name].is_empty:
                    found.append(f"{module['key']}: empty {'/'.join([*attribute['path'], name])}")
    return found


def _strangers(ds: Dataset) -> list[str]:
    """Attributes, at any depth, that the standard does not require and that are not listed above.

    Of optional modules only the list counts; in a sequence that may be there what it requires may be, too.
    """
    required = set()
    for module in get_iod_module_map()[get_sop_class_iod_map()[ds.SOPClassUID]]:
        for attribute in get_module_attribute_map()[module["key"]]:
            if attribute["type"] in ("1", "1C", "2", "2C") and (module["usage"] != "U" or attribute["path"]):
                required.add("/".join([*attribute["path"], attribute["keyword"]]))
    return [path for path in dict.fromkeys(_paths(ds)) if path not in required | ON_PURPOSE[ds.Modality]]


def _paths(ds: Dataset, above: tuple[str, ...] = ()) -> Iterator[str]:
    for element in ds:
        yield "/".join([*above, element.keyword])
        for item in element.value if element.VR == "SQ" else ():
            yield from _paths(item, (*above, element.keyword))


@pytest.mark.parametrize("name", FILES)
def test_required_attributes_are_there_and_no_others(written, name) -> None:
    ds = dcmread(written.folder / name)
    assert _breaches(ds) == []
    assert _strangers(ds) == []


def test_the_check_of_attributes_can_fail(written) -> None:
    ds = dcmread(written.folder / "seg_rtstruct.dcm")
    del ds.StructureSetROISequence[1].ROINumber
    ds.SOPInstanceUID = ""
    ds.EchoTime = 3
    assert len(_breaches(ds)) == 2
    ds.StructureSetROISequence[0].ROIDescription = "x"
    ds.BodyPartExamined = "PELVIS"  # of a module of the object, but nobody's wish
    assert _strangers(ds) == ["BodyPartExamined", "EchoTime", "StructureSetROISequence/ROIDescription"]


def test_every_value_is_of_its_type_and_every_uid_valid(written) -> None:
    for name in FILES:
        ds = dcmread(written.folder / name)
        uids = [e.value for e in ds.iterall() if e.VR == "UI"]
        assert all(UID(uid).is_valid for uid in uids)
        for element in ds.iterall():
            if element.VR == "DS":
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(str(v)) <= 16 for v in values if v is not None)
            if element.VR in ("SH", "CS"):
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(v) <= 16 for v in values if v is not None)
            if element.VR == "LO" and element.VM == 1:
                assert len(element.value) <= 64


def _hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*.dcm"))
    }


def test_the_same_input_gives_the_same_bytes(tmp_path) -> None:
    a, b = write_case(tmp_path / "a"), write_case(tmp_path / "b")
    assert _hashes(a.folder) == _hashes(b.folder)
    assert len(_hashes(a.folder)) == 14
    arrays = {"ct": a.hu + np.int16(1), "seg": a.labels}
    write_results(a.folder, a.series, ModelSpec(), arrays, Identity(), MODEL)
    uids = [dcmread(c.folder / "ct" / "0001.dcm").SOPInstanceUID for c in (a, b)]
    assert uids[0] != uids[1]  # other content, other UIDs


def test_identity_is_removed_everywhere_and_consistently(tmp_path) -> None:
    case = write_case(tmp_path, identity=Identity(remove=True, key="secret"))
    mr = dcmread(case.series.slices[0].file)
    told = ["4711", "Mustermann", "Jörg", "Doe", "19500102", "20240506", "A99", "Hospital"]
    uids = {str(e.value) for e in mr.iterall() if e.VR == "UI" and not str(e.value).startswith("1.2.840.10008")}
    names = set()
    for file in case.folder.rglob("*.dcm"):
        ds = dcmread(file)
        assert not uids & {str(e.value) for e in ds.iterall() if e.VR == "UI"}
        texts = [str(e.value) for e in ds.iterall() if e.VR not in ("UI", "OW", "OB", "DS", "SQ")]
        assert not [text for text in texts if any(word in text for word in told)]
        assert ds.PatientIdentityRemoved == "YES"
        names.add((str(ds.PatientName), ds.PatientID, ds.StudyInstanceUID, ds.FrameOfReferenceUID))
    assert len(names) == 1
    assert is_deidentified(case.folder)
    ((name, _, study, _),) = names
    # the same patient and study, another series: the same replacement; another key: another one
    other = write_case(tmp_path / "2", identity=Identity(remove=True, key="secret"), uid="another")
    ds = dcmread(other.folder / "seg_rtstruct.dcm")
    assert (str(ds.PatientName), ds.StudyInstanceUID) == (name, study)
    assert Identity(remove=True, key="other").patient("4711", "", "") != name


def test_a_folder_of_others_is_never_deleted(tmp_path) -> None:
    case = write_case(tmp_path)
    remove_results(case.folder)
    assert not case.folder.exists()
    with pytest.raises(SfgMedError, match="other files"):
        remove_results(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(SfgMedError, match="other files"):
        write_results(case.folder, case.series, ModelSpec(), {"ct": case.hu, "seg": case.labels}, Identity(), MODEL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_patients_without_anything(tmp_path) -> None:
    def change(ds: Dataset, index: int) -> None:
        ds.PatientName = ds.PatientID = ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.FrameOfReferenceUID = ""
        ds.PatientBirthDate = "unknown"
        del ds.StudyDate, ds.PatientPosition, ds.ReferringPhysicianName

    with pytest.warns(UserWarning, match="Invalid value for VR DA"):
        case = write_case(tmp_path, change=change)
    for name in FILES:
        ds = dcmread(case.folder / name)
        assert _breaches(ds) == []
        assert ds.PatientBirthDate == ""


def test_models_without_a_form_in_dicom() -> None:
    adc = ImageTask(name="adc", unit="1e-6 mm^2/s")
    with pytest.raises(SfgMedError, match="--dicom"):
        dicom_files(ModelSpec(tasks=(adc,)), "x")
    assert dicom_files(ModelSpec(), "a/x") == {
        "ct_dicom": "a/x_dicom/ct",
        "seg_rtstruct": "a/x_dicom/seg_rtstruct.dcm",
        "seg_dicom": "a/x_dicom/seg.dcm",
    }

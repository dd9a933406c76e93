# SPDX-License-Identifier: Apache-2.0
"""The segmentation, read back by highdicom."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr._concepts_dict import concepts
from skimage.color import lab2rgb

import sfg_med.data.dicom_out.structures as structures
from sfg_med.data.dicom_out.structures import structures_of
from sfg_med.errors import SfgMedError
from sfg_med.spec import ImageTask, LabelTask, ModelSpec
from tests.data.dicom_out.conftest import write_case


def test_segments_are_the_organs_on_the_slices_of_the_mr(written) -> None:
    seg = highdicom.seg.segread(written.folder / "seg.dcm")
    uids = [s.image_uid for s in written.series.slices]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert pixels.shape == (12, 52, 60, 5)
    for number in range(1, 6):
        np.testing.assert_array_equal(pixels[..., number - 1].T, written.labels == number)
    assert [seg.get_segment_description(n).segment_label for n in (1, 4)] == ["prostate", "femoral head left"]
    assert seg.get_segment_description(2).segmented_property_type.value == "89837001"
    left = seg.get_segment_description(4).SegmentedPropertyTypeCodeSequence[0]
    assert left.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_it_lies_where_the_mr_lies(written) -> None:
    volume = highdicom.seg.segread(written.folder / "seg.dcm").get_volume(combine_segments=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ written.affine
    for index in np.argwhere(volume.array > 0)[::501]:
        place = volume.affine @ [*index, 1]
        voxel = np.rint(np.linalg.solve(lps, place)[:3]).astype(int)
        np.testing.assert_allclose(lps @ [*voxel, 1], place, atol=1e-3)
        assert written.labels[tuple(voxel)] == volume.array[tuple(index)]


def test_codes_of_the_table_are_those_of_the_standard() -> None:
    table = json.loads((Path(structures.__file__).parent / "structures.json").read_text(encoding="utf-8"))
    known = {value: meaning for by_value in concepts["SCT"].values() for value, (meaning, _) in by_value.items()}
    entries = [entry["code"] for entry in (*table["structures"].values(), table["other"])]
    for value, scheme, meaning in (*entries, *table["sides"].values()):
        assert scheme == "SCT"
        names = {m.lower() for by_value in concepts["SCT"].values() for v, (m, _) in by_value.items() if v == value}
        assert meaning.lower() in names, (value, meaning, known.get(value))


def test_the_files_have_the_codes_and_colours_that_a_label_set_brings(tmp_path) -> None:
    own = {"code": ["108369006", "SCT", "Neoplasm"], "side": "right", "colour": [10, 200, 30], "type": "GTV"}
    spec = ModelSpec(tasks=(ImageTask(), LabelTask(labels={"bladder": 2, "lesion": 1}, structures={"lesion": own})))
    folder = write_case(tmp_path, spec=spec).folder
    structures = dcmread(folder / "seg_rtstruct.dcm")
    assert [list(item.ROIDisplayColor) for item in structures.ROIContourSequence] == [[79, 195, 255], [10, 200, 30]]
    observation = structures.RTROIObservationsSequence[1]
    assert observation.RTROIInterpretedType == "GTV"
    segment = dcmread(folder / "seg.dcm").SegmentSequence[1]
    assert segment.SegmentLabel == structures.StructureSetROISequence[1].ROIName == "lesion"
    for (code,) in (observation.RTROIIdentificationCodeSequence, segment.SegmentedPropertyTypeCodeSequence):
        assert (code.CodeValue, code.CodeMeaning) == ("108369006", "Neoplasm")
        assert code.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    light, a, b = np.array(segment.RecommendedDisplayCIELabValue) / 65535  # PS3.3, C.10.7.1.1
    rgb = lab2rgb([100 * light, 255 * a - 128, 255 * b - 128])
    np.testing.assert_allclose(255 * rgb, [10, 200, 30], atol=1)


def test_a_label_set_brings_its_own_codes_and_colours() -> None:
    own = {"lesion": {"code": ["108369006", "SCT", "Neoplasm"], "colour": [1, 2, 3], "type": "GTV"}}
    task = LabelTask(labels={"lesion": 3, "rectum": 1, "thing": 9}, structures=own)
    lesion, rectum, thing = structures_of(task)
    assert (lesion.code, lesion.colour, lesion.type, lesion.number, lesion.value) == (
        ("108369006", "SCT", "Neoplasm"),
        (1, 2, 3),
        "GTV",
        1,
        3,
    )
    assert rectum.code[2] == "Rectum"
    assert thing.colour not in (lesion.colour, rectum.colour)
    assert thing.code[2] == "Anatomical Structure"
    for wrong in ({"code": ["1"]}, {"colour": "red"}, {"side": "up"}, {"color": [1, 2, 3]}):
        with pytest.raises(SfgMedError, match="structures of label rectum"):
            structures_of(LabelTask(structures={"rectum": wrong}))

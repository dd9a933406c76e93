# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest

from sfg_med.errors import SfgMedError
from sfg_med.spec import ClassTask, LabelTask, ModelSpec, ValueTask, make_spec

FACES: list[dict[str, Any]] = [
    {"kind": "value", "name": "age", "unit": "years", "scale": 100},
    {"kind": "class", "name": "gender", "classes": ["male", "female"]},
]


def test_every_kind_of_task_survives_json() -> None:
    spec = make_spec(
        [{"kind": "image"}, {"kind": "labels"}, *FACES], spacing_mm=[1.0, 1.0], patch_size=[64, 64], input_name="face"
    )
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.channels == {"ct": 1, "seg": 6, "age": 1, "gender": 2}
    assert spec.volume_tasks == (*spec.image_tasks, LabelTask())
    assert spec.value_tasks == (ValueTask(scale=100),)
    assert spec.class_tasks == (ClassTask(),)
    organs = "prostate, bladder, rectum, femoral head left, femoral head right"
    assert [task.contents for task in spec.tasks] == ["HU", organs, "years", "male, female"]


@pytest.mark.parametrize(
    ("tasks", "options", "found"),
    [
        ([{"kind": "number"}], {}, "number"),
        ([{"kind": "value", "classes": ["a"]}], {}, "classes"),
        (FACES, {"spacing_mm": [1, 1], "patch_size": [64]}, "patch_size"),
        (FACES, {"spacing_mm": [1, 1, 1, 1]}, "spacing_mm"),
        (FACES, {"spacing_mm": [1, float("nan"), 1]}, "nan"),
        (FACES, {"spacing_mm": [1, 0, 1]}, "spacing_mm"),
        (FACES, {"patch_size": [64, 64, 0.5]}, "patch_size"),
        (FACES, {"patch_size": 64}, "int"),
        (FACES, {"input_name": "../mr"}, r"\.\./mr"),
        ([*FACES, FACES[0]], {}, "of its own"),
        ([], {}, "one or more"),
        ([{"name": "/../../evil"}], {}, "evil"),
        ([{"name": ["ct"]}], {}, "name"),
        ([{"name": "ct", "dtype": "object"}], {}, "dtype"),
        ([{"name": "ct", "scale": 0}], {}, "scale"),
        ([{"name": "ct", "value_range": [3, 3]}], {}, "value_range"),
        ([{"kind": "labels", "labels": {"prostate": 0}}], {}, "labels"),
        ([{"kind": "labels", "labels": {"prostate": 1, "bladder": 1}}], {}, "labels"),
        ([{"kind": "labels", "labels": {"pro\nstate": 1}}], {}, "name"),
        ([{"kind": "labels", "labels": ["prostate"]}], {}, "list"),
        (FACES, {"network": {"channels": [10**9]}}, "1000000000"),
        ("tasks", {}, "ValueError|TypeError"),
    ],
)
def test_a_specification_that_is_none_is_one_line(
    tasks: list[dict[str, Any]], options: dict[str, Any], found: str
) -> None:
    with pytest.raises(SfgMedError, match=found) as caught:
        make_spec(tasks, **{"spacing_mm": [1, 1, 1], "patch_size": [64, 64, 64], **options})
    assert "\n" not in str(caught.value)

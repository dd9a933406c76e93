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
    ],
)
def test_a_specification_that_is_none_is_one_line(
    tasks: list[dict[str, Any]], options: dict[str, Any], found: str
) -> None:
    with pytest.raises(SfgMedError, match=found) as caught:
        make_spec(tasks, **options)
    assert "\n" not in str(caught.value)

# SPDX-License-Identifier: Apache-2.0
"""Cases that lack a target train in the same batch as complete ones."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine, Events


class Batches:
    """Note which targets the cases of each batch have."""

    def __init__(self) -> None:
        self.seen: list[dict[str, tuple[bool, ...]]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        batch = engine.state.batch
        image, labels = batch["ct_annotated"].any(1).tolist(), batch["seg_annotated"].tolist()
        self.seen.append({c: (bool(i), *map(bool, s)) for c, i, s in zip(batch["case"], image, labels, strict=True)})


@pytest.fixture
def mixed_dataset(tiny_dataset: Path, tmp_path: Path) -> Path:
    """case002 has no CT, case003 no organs, case004 no mask; case000 (validation) neither CT nor mask."""
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_dataset, folder)
    for name in ("case002/ct", "case003/seg", "case004/mask", "case000/ct", "case000/mask"):
        (folder / f"{name}.nii.gz").unlink()
    return folder


def test_incomplete_and_complete_cases_train_in_one_batch(
    train_tiny: Callable[..., Path], mixed_dataset: Path, tmp_path: Path
) -> None:
    batches = Batches()
    run = train_tiny(
        tmp_path / "run", observers=(batches,), dataset_dir=str(mixed_dataset), batch_size=4, steps=2, log_interval=1
    )
    with (run / "history.csv").open(newline="") as file:
        rows = {(r["step"], r["name"]): float(r["value"]) for r in csv.DictReader(file)}
    for step in "12":
        assert all(math.isfinite(rows[step, f"loss{part}"]) for part in ("", "_ct", "_seg", "_penalty"))
    assert math.isfinite(rows["2", "dice_seg"])
    complete, no_ct, no_seg = (True,) * 7, (False, *[True] * 6), (True, *[False] * 6)
    expected = {"case002": no_ct, "case003": no_seg, "case004": complete, "case005": complete}
    assert batches.seen == [expected, expected]


def test_a_second_dataset_with_one_organ_joins_the_batches(
    train_tiny: Callable[..., Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    """The second dataset: another layout, other label values, one organ drawn, no CT."""
    second = tmp_path / "second"
    second.mkdir()
    for name in ("case000", "case001"):
        shutil.copy(tiny_dataset / name / "mr.nii.gz", second / f"p{name}_t2.nii.gz")
        seg = nib.load(tiny_dataset / name / "seg.nii.gz")
        prostate = (np.asarray(seg.dataobj) == 1).astype(np.uint8) * 9
        nib.save(nib.Nifti1Image(prostate, seg.affine), second / f"p{name}_gland.nii.gz")
    (second / "splits.json").write_text(json.dumps({"train": ["pcase000", "pcase001"]}))
    extra = {
        "path": str(second),
        "files": {"mr": "{case}_t2", "seg": "{case}_gland"},
        "labels": {"seg": {"prostate": 9}},
    }
    batches = Batches()
    train_tiny(tmp_path / "run", observers=(batches,), extra_datasets=[extra], batch_size=6, steps=1, steps_per_epoch=1)
    (seen,) = batches.seen
    assert len(seen) == 6
    for name, known in seen.items():
        assert known == ((False, True, True, *[False] * 4) if name.startswith("p") else (True,) * 7)

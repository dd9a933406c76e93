# SPDX-License-Identifier: Apache-2.0
"""``sfg-med train``: a user's mistake is one line on stderr and exit code 2, before or during the run."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from sfg_med.cli import main as cli
from sfg_med.errors import SfgMedError
from sfg_med.training.runner import user_mistake

Result = tuple[int, str, str]


@pytest.fixture
def sfg_med(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["sfg-med", *map(str, words)])
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def arguments(tiny: dict[str, Any], tmp_path: Path) -> Callable[..., list[str]]:
    """``train`` with the tiny settings; keyword arguments override them."""

    def make(dataset: Path, **changes: Any) -> list[str]:
        values = {**tiny, **changes}
        words = [f"{key}={value}" for key, value in values.items() if value is not None]
        return ["train", "--dataset-dir", str(dataset), "--run-dir", str(tmp_path / "run"), "--quiet", *words]

    return make


@pytest.fixture
def dataset(tiny_dataset: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return shutil.copytree(tiny_dataset, tmp_path / "dataset")


def assert_one_line(result: Result, *words: str) -> None:
    code, _, err = result
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    for word in words:
        assert word in err
    assert code == 2


def test_training_prints_where_the_results_are(
    sfg_med: Callable[..., Result], arguments: Callable[..., list[str]], tiny_dataset: Path, tmp_path: Path
) -> None:
    code, out, err = sfg_med(*arguments(tiny_dataset))
    assert code == 0
    assert (tmp_path / "run" / "models" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert f"model:  {tmp_path / 'run' / 'models' / 'model.safetensors'}" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("stepz=3", ["stepz", "did you mean steps?"]),
        ("network::chanels=[4,8]", ["network::chanels", "did you mean network::channels?"]),
        ("network#chanels=[4,8]", ["did you mean network::channels?"]),
        ("steps", ["steps", "KEY=VALUE"]),
        ("=3", ["KEY=VALUE"]),
        ("steps=[1", ["steps", "YAML"]),
        ("steps=3", ["steps", "multiple of steps_per_epoch"]),
        ("folds=9", ["fold", "2 to 6 folds"]),
        ("folds=3 fold=3", ["fold 3 of 3"]),
        ("image_loss=l3", ["config", "l1", "l3"]),
        ("steps=many", ["config", "str"]),
        ("network::name=Foo", ["Foo", "SFGUNet"]),
        ("network::strides=[2,2]", ["strides"]),
        ("tasks=[{'kind':'sound'}]", ["sound"]),
    ],
)
def test_wrong_overrides(
    sfg_med: Callable[..., Result],
    arguments: Callable[..., list[str]],
    tiny_dataset: Path,
    tmp_path: Path,
    word: str,
    expected: list[str],
) -> None:
    assert_one_line(sfg_med(*arguments(tiny_dataset), *word.split()), *expected)
    assert not (tmp_path / "run" / "checkpoints").exists(), "nothing is trained before the config is right"


def test_missing_dataset_and_config(
    sfg_med: Callable[..., Result], arguments: Callable[..., list[str]], tiny_dataset: Path, tmp_path: Path
) -> None:
    assert_one_line(sfg_med(*arguments(tmp_path / "nowhere")), "nowhere", "no folder", "--dataset-dir")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_line(sfg_med(*arguments(empty)), "empty", "none")
    config = tmp_path / "x.yaml"
    assert_one_line(sfg_med(*arguments(tiny_dataset), "--config", config), "x.yaml", "nothing there")
    config.write_text("a: [")
    assert_one_line(sfg_med(*arguments(tiny_dataset), "--config", config), "x.yaml")


def test_a_case_without_mr(sfg_med: Callable[..., Result], arguments: Callable[..., list[str]], dataset: Path) -> None:
    (dataset / "case003" / "mr.nii.gz").unlink()
    assert_one_line(sfg_med(*arguments(dataset)), "case003/mr.nii.gz", "ct.nii.gz")


def spoil_labels(case: Path) -> list[str]:
    image = nib.load(case / "seg.nii.gz")
    array = np.asarray(image.dataobj).copy()
    array[3, 3, 3] = 9
    nib.save(nib.Nifti1Image(array, image.affine), case / "seg.nii.gz")
    return [f"{case.name}/seg.nii.gz", "found 9", "0, 1, 2, 3, 4, 5"]


def spoil_grid(case: Path) -> list[str]:
    image = nib.load(case / "ct.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), case / "ct.nii.gz")
    return [f"{case.name}/ct.nii.gz", f"{case.name}/mr.nii.gz"]


def spoil_affine(case: Path) -> list[str]:
    image = nib.load(case / "seg.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine + np.eye(4, k=3)), case / "seg.nii.gz")
    return [f"{case.name}/seg.nii.gz", f"{case.name}/mr.nii.gz", "affine"]


def spoil_voxels(case: Path) -> list[str]:
    image = nib.load(case / "mr.nii.gz")
    nib.save(nib.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), case / "mr.nii.gz")
    return [f"{case.name}/mr.nii.gz", "NaN"]


def spoil_file(case: Path) -> list[str]:
    content = (case / "ct.nii.gz").read_bytes()
    (case / "ct.nii.gz").write_bytes(content[: len(content) // 2])
    return [f"{case.name}/ct.nii.gz", "damaged"]


@pytest.mark.parametrize("case", ["case000", "case003"])  # validates, trains
@pytest.mark.parametrize("spoil", [spoil_labels, spoil_grid, spoil_affine, spoil_voxels, spoil_file])
def test_spoilt_files_of_a_case(
    sfg_med: Callable[..., Result],
    arguments: Callable[..., list[str]],
    dataset: Path,
    spoil: Callable[[Path], list[str]],
    case: str,
) -> None:
    words = spoil(dataset / case)
    assert_one_line(sfg_med(*arguments(dataset)), *words)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_spoilt_case_that_is_read_late(
    sfg_med: Callable[..., Result], arguments: Callable[..., list[str]], dataset: Path, num_workers: int
) -> None:
    """Without a cache, cases are read while training, by another process if there are workers."""
    words = spoil_labels(dataset / "case003")
    result = sfg_med(*arguments(dataset, cache_rate=0.0, num_workers=num_workers, batch_size=4, steps=2))
    assert_one_line(result, *words)


def test_other_labels_may_be_background(
    sfg_med: Callable[..., Result], arguments: Callable[..., list[str]], dataset: Path
) -> None:
    spoil_labels(dataset / "case003")
    assert sfg_med(*arguments(dataset, other_labels="background"))[0] == 0


def test_a_damaged_checkpoint(
    sfg_med: Callable[..., Result], arguments: Callable[..., list[str]], tiny_dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 nonsense")
    assert_one_line(sfg_med(*arguments(tiny_dataset)), "last.pt", "resume=false")


MISTAKE = SfgMedError("a: b.nii", "this: or, found that", "x; y", "do; it")


def chain(link: str) -> BaseException:
    """An error as MONAI (cause, context) or torch (text) pass it on."""
    try:
        try:
            raise MISTAKE
        except SfgMedError as error:
            if link == "context":
                raise KeyError("something else")  # noqa: B904
            raise RuntimeError("applying transform") from error
    except (RuntimeError, KeyError) as error:
        return error


def test_the_mistake_is_found_behind_other_errors() -> None:
    assert user_mistake(MISTAKE) is MISTAKE
    assert user_mistake(chain("cause")) is MISTAKE
    assert user_mistake(chain("context")) is MISTAKE
    assert user_mistake(ValueError("a bug")) is None
    plain = SfgMedError("/d/seg.nii.gz", "the label values 0, 1", "9 (in 3 voxels)", "name it")
    raised = f"sfg_med.errors.SfgMedError: {plain}"
    text = f"Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\n{raised}\n\nThe above"
    assert str(user_mistake(RuntimeError(text))) == str(plain)

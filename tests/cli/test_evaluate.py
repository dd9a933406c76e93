# SPDX-License-Identifier: Apache-2.0
"""``sfg-med evaluate`` on small files: numbers, failures, choices, exit codes."""

import json

import nibabel as nib
import numpy as np
import pytest

from sfg_med.errors import SfgMedError
from sfg_med.metrics import masked_mae
from sfg_med.spec import ImageTask, LabelTask, ModelSpec
from tests.cli.evaluation import AFFINE, SHAPE
from tests.cli.evaluation import case as _case
from tests.cli.evaluation import results as _results
from tests.cli.evaluation import run as _run
from tests.cli.evaluation import save as _save


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate(("case1", "case2", "case3")):
        _case(tmp_path, name, seed, error=10 * (seed + 1))
    return tmp_path


def test_numbers_and_contract(folders):
    result = _run(folders)
    assert result.exit_code == 0, result.output
    rows, summary = _results(folders)
    assert list(rows) == ["case1", "case2", "case3"]
    assert list(rows["case1"])[:6] == ["case", "mae_hu", "psnr_db", "ssim", "ms_ssim", "mae_bone_hu"]
    assert [float(row["mae_hu"]) for row in rows.values()] == pytest.approx([10, 20, 30])
    assert float(rows["case2"]["dice_rectum"]) == 1
    assert float(rows["case2"]["hd95_mm_rectum"]) == 0
    mae = summary["columns"]["mae_hu"]
    assert (mae["mean"], mae["std"], mae["n"]) == pytest.approx((20, 10, 3))
    assert mae["worst"][0] == {"case": "case3", "value": pytest.approx(30)}
    assert summary["dice_mean"]["mean"] == pytest.approx(1)
    assert "20.0 ± 10.0" in result.stdout
    assert "not for clinical use" in result.stdout


def test_trivial_model_is_the_mean_of_all_bodies(folders):
    _run(folders)
    _, summary = _results(folders)
    trivial = summary["trivial_model"]["mae_hu"]
    inside = (slice(1, -1),) * 3
    images = [nib.load(folders / "ref" / f"case{i}" / "ct.nii.gz").get_fdata()[inside] for i in (1, 2, 3)]
    mean = np.mean(images)
    assert trivial["predicts"] == pytest.approx(mean)
    assert trivial["mean"] == pytest.approx(np.mean([masked_mae(np.full(i.shape, mean), i) for i in images]))


def test_missing_references_are_blank(folders):
    (folders / "ref" / "case1" / "seg.nii.gz").unlink()
    (folders / "ref" / "case2" / "ct.nii.gz").unlink()
    assert _run(folders).exit_code == 0
    rows, summary = _results(folders)
    assert rows["case1"]["dice_bladder"] == ""
    assert rows["case1"]["hd95_mm_bladder"] == ""
    assert float(rows["case1"]["mae_hu"]) == pytest.approx(10)
    assert rows["case2"]["mae_hu"] == ""
    assert summary["columns"]["mae_hu"]["n"] == 2


def test_no_mask_means_every_voxel(folders):
    prediction = nib.load(folders / "pred" / "case1" / "mr_ct.nii.gz").get_fdata()
    prediction[0] += 500
    _save(folders / "pred" / "case1" / "mr_ct.nii.gz", prediction.astype(np.int16))
    _run(folders)
    assert float(_results(folders)[0]["case1"]["mae_hu"]) == pytest.approx(10)
    (folders / "ref" / "case1" / "mask.nii.gz").unlink()
    _run(folders)
    assert float(_results(folders)[0]["case1"]["mae_hu"]) == pytest.approx(10 + 500 / 16)


def test_organs_that_are_not_predicted_are_counted(folders):
    _save(folders / "pred" / "case1" / "mr_seg.nii.gz", np.zeros(SHAPE, np.uint8))
    assert _run(folders).exit_code == 0
    rows, summary = _results(folders)
    assert float(rows["case1"]["dice_prostate"]) == 0
    assert rows["case1"]["hd95_mm_prostate"] == ""
    assert summary["columns"]["dice_prostate"]["n"] == 3
    assert summary["columns"]["hd95_mm_prostate"]["n"] == 2
    assert summary["columns"]["hd95_mm_prostate"]["organ_not_predicted"] == 1


def _shift(root):
    moved = AFFINE.copy()
    moved[0, 3] = 0.5
    image = nib.load(root / "pred" / "case2" / "mr_ct.nii.gz")
    _save(root / "pred" / "case2" / "mr_ct.nii.gz", np.asarray(image.dataobj), moved)


def _crop(root):
    image = nib.load(root / "pred" / "case2" / "mr_ct.nii.gz")
    _save(root / "pred" / "case2" / "mr_ct.nii.gz", np.asarray(image.dataobj)[1:])


def _remove(root):
    (root / "pred" / "case2" / "mr_seg.nii.gz").unlink()


def _truncate(root):
    path = root / "pred" / "case2" / "mr_ct.nii.gz"
    path.write_bytes(path.read_bytes()[:500])


def _empty_mask(root):
    _save(root / "ref" / "case2" / "mask.nii.gz", np.zeros(SHAPE, np.uint8))


def _probabilities(root):
    _save(root / "pred" / "case2" / "mr_seg.nii.gz", np.linspace(0, 1, 16 * 15 * 14).reshape(SHAPE))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_shift, "affine"),
        (_crop, "voxels"),
        (_remove, "mr_seg.nii.gz"),
        (_truncate, "mr_ct.nii.gz"),
        (_empty_mask, "mask"),
        (_probabilities, "labels"),
    ],
)
def test_a_broken_case_fails_alone_with_one_line(folders, damage, words):
    damage(folders)
    result = _run(folders)
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed:")]
    assert len(lines) == 1
    assert "case2" in lines[0]
    assert words in lines[0]
    rows, summary = _results(folders)
    assert list(rows) == ["case1", "case3"]
    assert (summary["cases"], summary["failed"]) == (3, 1)
    assert summary["failures"][0]["case"] == "case2"


def test_split_and_list(folders):
    (folders / "ref" / "splits.json").write_text(json.dumps({"train": ["case1"], "test": ["case3"]}))
    assert _run(folders, "--split", "test").exit_code == 0
    assert list(_results(folders)[0]) == ["case3"]
    assert _run(folders, "--cases", f"{folders / 'ref' / 'splits.json'}:train").exit_code == 0
    assert list(_results(folders)[0]) == ["case1"]
    (folders / "chosen.txt").write_text("case2\n\ncase3\n")
    assert _run(folders, "--cases", str(folders / "chosen.txt"), "--quiet").exit_code == 0
    assert list(_results(folders)[0]) == ["case2", "case3"]


@pytest.mark.slow
def test_several_processes_give_the_same_table(folders):
    _run(folders)
    alone = (folders / "out" / "metrics.csv").read_bytes()
    assert _run(folders, "--jobs", "2").exit_code == 0
    assert (folders / "out" / "metrics.csv").read_bytes() == alone


@pytest.mark.parametrize(
    "options",
    [
        ["--split", "tst"],
        ["--cases", "absent.txt"],
        ["--split", "test", "--cases", "a.txt"],
        ["-r", "/absent"],
        ["-p", "/absent"],
        ["--spec", "/absent.json"],
    ],
)
def test_mistakes_of_the_user_are_one_error(folders, options):
    (folders / "ref" / "splits.json").write_text(json.dumps({"train": ["case1"], "test": ["case9"]}))
    result = _run(folders, *options)
    assert isinstance(result.exception, SfgMedError)
    assert "\n" not in str(result.exception)
    assert not (folders / "out").exists()


def test_a_chosen_case_without_reference_is_refused(folders):
    (folders / "ref" / "splits.json").write_text(json.dumps({"test": ["case9"]}))
    assert "case9" in str(_run(folders, "--split", "test").exception)


def test_without_a_manifest_only_predicted_tasks_count(folders):
    for path in (folders / "pred").rglob("mr_seg.nii.gz"):
        path.unlink()
    assert _run(folders).exit_code == 0
    assert not any(name.startswith("dice") for name in _results(folders)[0]["case1"])


def _manifest(root, spec, cases):
    content = {"model": {"sha256": "ab" * 32, "spec": spec.to_dict()}, "cases": cases}
    (root / "pred" / "manifest.json").write_text(json.dumps(content))


def test_manifest_tells_failures_and_what_was_asked_for(folders):
    (folders / "pred" / "case2" / "mr_ct.nii.gz").unlink()
    (folders / "pred" / "case2" / "mr_seg.nii.gz").unlink()
    for name in ("mr_ct.nii.gz", "mr_seg.nii.gz"):
        (folders / "pred" / "case3" / name).unlink()
    done = {"case": "case1", "status": "done", "files": {"ct": "case1/mr_ct.nii.gz"}}
    failed = {"case": "case2", "status": "failed", "error": "out of memory", "files": {}}
    _manifest(folders, ModelSpec(), [done, failed])
    result = _run(folders)
    assert result.exit_code == 1
    assert "out of memory" in result.stderr
    _, summary = _results(folders)
    assert summary["left_out"] == ["case3"]
    assert summary["model_sha256"] == "ab" * 32


@pytest.mark.parametrize(
    "manifest",
    [
        {"cases": [{"case": "../secret", "status": "done"}]},
        {"cases": [{"case": "/etc", "status": "done"}]},
        {"cases": [{"case": "case1", "status": "done", "files": {"ct": "../../secret.nii.gz"}}]},
        {"cases": [{"case": "case1", "status": "done", "files": {"ct": "/secret.nii.gz"}}]},
        {"cases": [{"status": "done"}]},
        {"cases": [{"case": ""}]},
        {"cases": [{"case": "case1", "files": ["a"]}]},
        {"cases": 3},
        {"cases": [], "model": "sfg"},
        [],
    ],
)
def test_a_manifest_names_what_lies_in_its_folder(folders, manifest):
    (folders / "pred" / "manifest.json").write_text(json.dumps(manifest))
    error = _run(folders).exception
    assert isinstance(error, SfgMedError)
    assert "manifest of sfg-med predict" in str(error)


@pytest.mark.parametrize(
    ("name", "content"), [("cases.txt", "case1\ncase\xe42".encode("latin-1")), ("c.json:test", b"3")]
)
def test_a_list_that_is_none_is_one_error(folders, name, content):
    (folders / name.split(":")[0]).write_bytes(content)
    error = _run(folders, "--cases", folders / name).exception
    assert isinstance(error, SfgMedError)
    assert "cases" in str(error) or "split" in str(error)


def test_other_tasks_by_the_specification_alone(tmp_path):
    for seed, name in enumerate(("a", "b")):
        _case(tmp_path, name, seed, image="flair", label="tumour", error=7)
    spec = ModelSpec((ImageTask("flair", "a.u.", (0, 600), 0), LabelTask("tumour", {"core": 1, "oedema": 2})))
    _manifest(tmp_path, spec, [])
    result = _run(tmp_path)
    assert result.exit_code == 0, result.exception
    rows, summary = _results(tmp_path)
    assert list(rows["a"]) == [
        *("case", "mae_flair", "psnr_db_flair", "ssim_flair", "ms_ssim_flair"),
        *("dice_core", "dice_oedema", "hd95_mm_core", "hd95_mm_oedema"),
        *("surface_dice_2mm_core", "surface_dice_2mm_oedema", "volume_diff_ml_core", "volume_diff_ml_oedema"),
        *("volume_diff_percent_core", "volume_diff_percent_oedema"),
    ]
    assert float(rows["b"]["mae_flair"]) == pytest.approx(7)
    assert summary["columns"]["mae_flair"]["unit"] == "a.u."
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()))
    (tmp_path / "pred" / "manifest.json").unlink()
    assert _run(tmp_path, "--spec", str(tmp_path / "spec.json")).exit_code == 0


def test_simulated_data_is_called_simulated(folders):
    (folders / "ref" / "simulation.json").write_text("{}")
    assert "simulated" in _run(folders).stdout
    assert _results(folders)[1]["simulated"] is True


def test_range_of_synthrad2025(folders):
    _run(folders)
    narrow = float(_results(folders)[0]["case1"]["psnr_db"])
    _run(folders, "--definition", "synthrad2025")
    rows, summary = _results(folders)
    assert float(rows["case1"]["psnr_db"]) - narrow == pytest.approx(20 * np.log10(4095 / 4024), rel=1e-4)
    assert summary["hu_range"] == [-1024, 3071]


def test_another_layout_and_other_label_values(tmp_path):
    """Flat files, named by a dataset's options; only two organs were drawn, with values of their own."""
    generator = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 4:9, 4:9], labels[8:12, 4:9, 4:9] = 9, 4
    _save(tmp_path / "data" / "p1_t2.nii.gz", generator.integers(0, 99, SHAPE).astype(np.int16))
    _save(tmp_path / "data" / "p1_truth.nii.gz", labels)
    predicted = np.where(labels == 9, 1, np.where(labels == 4, 2, 0)).astype(np.uint8)
    predicted[2:4][predicted[2:4] == 1] = 3
    _save(tmp_path / "pred" / "p1_t2_seg.nii.gz", predicted)
    options = {"path": "data", "files": {"mr": "{case}_t2", "seg": "{case}_truth"}}
    options["labels"] = {"seg": {"prostate": 9, "bladder": 4}}
    (tmp_path / "set.json").write_text(json.dumps(options))
    result = _run(tmp_path, "-r", tmp_path / "set.json")
    assert result.exit_code == 0, result.exception
    row = _results(tmp_path)[0]["p1"]
    assert float(row["dice_prostate"]) == pytest.approx(2 * 2 / (4 + 2))
    assert float(row["dice_bladder"]) == 1
    assert row["dice_rectum"] == ""
    manifest = {"model": {"spec": ModelSpec().to_dict()}, "cases": []}
    manifest["cases"] = [{"case": "renamed", "status": "done", "input": str(tmp_path / "data" / "p1_t2.nii.gz")}]
    manifest["cases"][0]["files"] = {"seg": "p1_t2_seg.nii.gz"}
    (tmp_path / "pred" / "manifest.json").write_text(json.dumps(manifest))
    assert _run(tmp_path, "-r", tmp_path / "set.json").exit_code == 0
    assert list(_results(tmp_path)[0]) == ["p1"]


def test_a_reference_without_its_input(folders):
    assert not list((folders / "ref").rglob("mr.nii.gz"))
    assert _run(folders).exit_code == 0

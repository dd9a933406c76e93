# SPDX-License-Identifier: Apache-2.0
"""The bundle's evaluate and inference configs agree with sfg-med predict and evaluate."""

import csv
import shutil
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from sfg_med.data.volumes import read_volume, write_volume
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import load_model
from sfg_med.training.runner import config_dir


def run_bundle(files: list[str], kind: str, **overrides: Any) -> ConfigWorkflow:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
        workflow = ConfigWorkflow(
            config_file=[str(config_dir() / f) for f in files],
            meta_file=str(config_dir() / "metadata.json"),
            logging_file=False,
            workflow_type=kind,
            **overrides,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    return workflow


def knobs(tiny: dict[str, Any]) -> dict[str, Any]:
    names = ("patch_size", "spacing_mm", "precision", "device")
    return {k: v for k, v in tiny.items() if k in names or k.startswith("network::")}


@pytest.fixture(scope="module")
def bundle_output(
    tiny_run: Path, tiny: dict[str, Any], odd_inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What configs/inference.yaml writes for the odd inputs."""
    out = tmp_path_factory.mktemp("bundle")
    ckpt = str(tiny_run / "models" / "model.pt")
    run_bundle(
        ["inference.yaml"], "infer", dataset_dir=str(odd_inputs), output_dir=str(out), ckpt_path=ckpt, **knobs(tiny)
    )
    return out


@pytest.fixture(scope="module")
def odd_inputs(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MR of two cases: one turned to LPS, one PIR with finer and unequal voxels."""
    folder = tmp_path_factory.mktemp("odd")
    for name, axes, factor in (("case000", "LPS", 1), ("case001", "PIR", 2)):
        image = nib.load(tiny_dataset / name / "mr.nii.gz")
        array = np.repeat(np.asarray(image.dataobj), factor, axis=0)
        affine = image.affine @ np.diag([1 / factor, 1, 1, 1])
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        turned = nib.Nifti1Image(array, affine).as_reoriented(
            ornt_transform(io_orientation(affine), axcodes2ornt(axes))
        )
        (folder / name).mkdir()
        nib.save(turned, folder / name / "mr.nii.gz")
    return folder


@pytest.mark.parametrize("case", ["case000", "case001"])
def test_inference_config_writes_in_the_grid_of_the_input_what_the_predictor_returns(
    tiny_run: Path, bundle_output: Path, odd_inputs: Path, case: str
) -> None:
    volume = read_volume(odd_inputs / case / "mr.nii.gz")
    predictor = Predictor(
        load_model(tiny_run / "models" / "model.safetensors"), device="cpu", precision="fp32", whole_image=True
    )
    expected = predictor.predict(volume)
    ct = nib.load(bundle_output / case / "mr_ct.nii.gz")
    seg = nib.load(bundle_output / case / "mr_seg.nii.gz")
    for image, dtype in ((ct, np.int16), (seg, np.uint8)):
        assert image.shape == volume.array.shape
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
        assert image.get_data_dtype() == dtype
    difference = np.abs(np.asarray(ct.dataobj).astype(int) - np.rint(expected.images["ct"]).astype(int))
    labels = np.asarray(seg.dataobj)
    assert len(np.unique(labels)) > 1, "of a hardly trained model: what finds nothing would agree with anything"
    assert np.median(difference) == 0
    assert np.percentile(difference, 99) <= 1
    assert np.mean(labels == expected.labels["seg"]) > 0.999


def test_evaluate_config_agrees_with_predict_and_evaluate(
    tiny_run: Path, tiny: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Network grid and reference grid are the same here, so only rounding to int16 and the clipping of HU differ."""
    run_bundle(
        ["train.yaml", "evaluate.yaml"],
        "train",
        run_dir=str(shutil.copytree(tiny_run, tmp_path / "run")),
        output_dir=str(tmp_path / "evaluation"),
        dataset_dir=str(tiny_dataset),
        **tiny,
    )
    predictor = Predictor(load_model(tiny_run / "models" / "model.safetensors"), device="cpu", precision="fp32")
    volume = read_volume(tiny_dataset / "case001" / "mr.nii.gz")
    found = predictor.predict(volume)
    folder = tmp_path / "predictions" / "case001"
    folder.mkdir(parents=True)
    write_volume(folder / "mr_ct.nii.gz", found.images["ct"], volume, np.int16)
    write_volume(folder / "mr_seg.nii.gz", found.labels["seg"], volume, np.uint8)
    expected = evaluated(tmp_path / "predictions", tiny_dataset, tmp_path / "metrics", tiny_run / "spec.json")

    metrics = {p.name: p.read_text() for p in (tmp_path / "evaluation").iterdir()}
    values = dict(line.split(",") for line in metrics["metrics.csv"].splitlines())
    assert float(values["mae_hu"]) == pytest.approx(float(expected["mae_hu"]), abs=0.6)
    organs = [float(v) for k, v in expected.items() if k.startswith("dice_") and v not in ("", "nan")]
    assert max(organs) > 0
    assert float(values["dice_seg"]) == pytest.approx(np.mean(organs), abs=0.005)
    assert "case001" in metrics["dice_seg_raw.csv"]


def evaluated(predictions: Path, reference: Path, out: Path, spec: Path) -> dict[str, str]:
    from typer.testing import CliRunner

    from sfg_med.cli.main import app

    words = ["evaluate", "-p", predictions, "-r", reference, "-o", out, "--spec", spec, "--quiet", "--split", "test"]
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    with (out / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row

# SPDX-License-Identifier: Apache-2.0
"""The zip is a MONAI bundle that runs where it is unpacked, and does what the model does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out

from pipelines import package_bundle
from pipelines.bundle_configs import set_keys
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import load_model
from sfg_med.model_path import demonstration_model

SCHEMA = Path(__file__).parents[1] / "configs" / "meta_schema.json"
SECTIONS = ("Authors", "Tags", "Model Description", "Data", "Performance", "System Configuration", "Limitations")


def packed(folder: Path, model: Path | None, **options: Any) -> Path:
    defaults: dict[str, Any] = {"metadata": None, "performance": None, "data_license": None, "wheel": None}
    words = {"name": "a_bundle", "forms": "", "volume": None, **defaults, **options}
    package_bundle.main(out=folder / "bundle.zip", model=model, **words)
    return folder / "bundle.zip"


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        assert all(i.filename.startswith("a_bundle/") for i in archive.infolist())
        archive.extractall(folder)
    return folder / "a_bundle"


@pytest.fixture(scope="module")
def bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle of a tiny model. Not to be changed."""
    folder = tmp_path_factory.mktemp("packed")
    return unpacked(packed(folder, tiny_run), folder)


def test_the_same_model_gives_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    first, second = (packed(tmp_path / name, tiny_run).read_bytes() for name in ("one", "two"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "one" / "bundle.zip") as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_file_has_its_hash(bundle: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    there = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert set(listed) == there - {"SHA256SUMS"}
    for name, value in listed.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == value, name


def test_it_has_what_the_model_zoo_asks_for(bundle: Path, tiny_run: Path) -> None:
    for name in ("LICENSE", "configs/metadata.json", "configs/inference.yaml", "models/model.pt", "docs/README.md"):
        assert (bundle / name).is_file(), name
    assert (bundle / "docs" / "data_license.txt").is_file()
    card = (bundle / "docs" / "README.md").read_text()
    assert all(f"**{section}**" in card for section in SECTIONS)
    assert "Not for clinical use" in card
    assert "pip install" in card
    known = hashlib.md5(SCHEMA.read_bytes(), usedforsecurity=False).hexdigest()
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(SCHEMA), hash_val=known)
    data = json.loads((bundle / "configs" / "metadata.json").read_text())
    spec = load_model(tiny_run / "models" / "model.safetensors").spec
    output = data["network_data_format"]["outputs"]["pred"]
    assert output["spatial_shape"] == list(spec.patch_size)
    assert output["num_channels"] == sum(spec.channels.values()) == len(output["channel_def"])
    assert data["version"] in data["changelog"]


def test_the_network_has_the_shapes_of_the_metadata(bundle: Path) -> None:
    configs = bundle / "configs"
    for name in ("train.yaml", "inference.yaml"):
        words = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / name)}
        verify_net_in_out(net_id="network_def", device="cpu", p=1, n=1, **words)


def test_monai_finds_every_property(bundle: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    values = {"dataset_dir": str(tiny_dataset), "bundle_root": str(bundle), "run_dir": str(tmp_path / "run")}
    for name, kind in (("train.yaml", "train"), ("inference.yaml", "infer")):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
            config = str(bundle / "configs" / name)
            workflow = ConfigWorkflow(config_file=config, logging_file=False, workflow_type=kind, **values)
            workflow.initialize()
            assert workflow.check_properties() == []


def test_keys_change_and_all_else_stays() -> None:
    text = "# top\na: 1   # one\ntasks:\n  - {b: 2}\n- c\nd: {e: 3}\n\nf: a\n"
    changed = set_keys(text, {"tasks": ({"b": (4, 5)},), "d": "word", "a": None})
    assert changed == "# top\na: null\ntasks: [{b: [4, 5]}]\nd: word\n\nf: a\n"
    assert yaml.safe_load(changed)["tasks"] == [{"b": [4, 5]}]
    with pytest.raises(ValueError, match="g is there 0 times"):
        set_keys(text, {"g": 1})


def test_weights_that_do_not_fit_the_configs_are_not_packed(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    import torch

    buffer = io.BytesIO()
    state = load_model(tiny_run / "models" / "model.safetensors", trainable=True).network.state_dict()
    torch.save({k: v * 1.1 if v.is_floating_point() else v for k, v in state.items()}, buffer)
    monkeypatch.setattr(package_bundle, "plain_weights", lambda _: buffer.getvalue())
    with pytest.raises(SfgMedError, match="relative difference"):
        packed(tmp_path, tiny_run)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def volume(tiny_dataset: Path) -> Path:
    """A simulated MR."""
    return sorted(tiny_dataset.glob("*/mr.nii.gz"))[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_programs_and_the_wheel_are_packed_and_what_was_measured_is_said(
    tiny_run: Path, volume: Path, tmp_path: Path
) -> None:
    import onnxruntime
    import torch

    wheel = tmp_path / "sfg_med-9.9-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    words = {"forms": "onnx,pt2", "volume": [volume], "wheel": wheel}
    bundle = unpacked(packed(tmp_path, tiny_run, **words), tmp_path)
    assert (bundle / wheel.name).read_bytes() == b"a wheel"
    card = (bundle / "docs" / "README.md").read_text()
    assert f"pip install {wheel.name}" in card
    model = load_model(tiny_run / "models" / "model.safetensors")
    window = torch.randn(1, 1, *model.spec.patch_size)
    with torch.no_grad():
        expected = model.network.compact()(window)
        found = torch.export.load(bundle / "models" / "model.pt2").module()(window)
    session = onnxruntime.InferenceSession(bundle / "models" / "model.onnx")
    (other,) = session.run(None, {session.get_inputs()[0].name: window.numpy()})
    for name, output in (("pt2", found), ("onnx", torch.from_numpy(other))):
        torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)
        (line,) = [line for line in card.splitlines() if f"model.{name}" in line]
        assert "relative difference to the original" in line
        assert "images differ by 0.0" in line
        assert "over 1 cases" in line
    sums = (bundle / "SHA256SUMS").read_text()
    assert all(name in sums for name in ("models/model.pt2", "models/model.onnx", wheel.name))


def test_programs_that_cannot_be_checked_or_answer_otherwise_are_not_packed(
    tiny_run: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfg_med.inference import export

    with pytest.raises(SfgMedError, match="--forms: expected a volume"):
        packed(tmp_path, tiny_run, forms="pt2")
    with pytest.raises(SfgMedError, match="--forms: expected torchscript, pt2, onnx, found 'zip'"):
        packed(tmp_path, tiny_run, forms="zip", volume=[volume])

    def off_by_little(made: export.Making) -> export.Program:
        made.path.write_bytes(b"x")
        return lambda windows: made.network(windows) + 0.002 * (windows.sum() != made.example.sum())  # 2 HU

    monkeypatch.setitem(export.FORMATS, "pt2", off_by_little)
    with pytest.raises(SfgMedError, match="predictions within 1 HU"):
        packed(tmp_path, tiny_run, forms="pt2", volume=[volume])
    assert not list(tmp_path.iterdir())


def monai(bundle: Path, *words: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *words]
    done = subprocess.run(command, cwd=bundle, check=False, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.shared
def test_the_shipped_model_runs_from_the_zip_on_a_real_pelvis_and_trains_on(
    shared_data: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    bundle = unpacked(packed(tmp_path, demonstration_model()), tmp_path)
    card = (bundle / "docs" / "README.md").read_text()
    assert "| MAE (HU) | " in card
    assert "no clinical model" in card
    path = shared_data / "hipmri_pelvis" / "case018_week7_mr.nii.gz"
    mr = nib.as_closest_canonical(nib.load(path)).slicer[::3, ::3, ::2]
    (tmp_path / "real" / "p1").mkdir(parents=True)
    nib.save(mr, tmp_path / "real" / "p1" / "mr.nii.gz")
    out = tmp_path / "out"
    config = ["--config_file", "configs/inference.yaml", "--precision", "fp32"]
    monai(bundle, *config, "--dataset_dir", str(tmp_path / "real"), "--output_dir", str(out))
    volume = read_volume(tmp_path / "real" / "p1" / "mr.nii.gz")
    model = load_model(demonstration_model())
    expected = Predictor(model, device="cpu", precision="fp32", whole_image=True).predict(volume)
    ct, seg = (np.asarray(nib.load(out / "p1" / f"mr_{name}.nii.gz").dataobj) for name in ("ct", "seg"))
    assert np.abs(ct.astype(float) - expected.images["ct"]).mean() < 1  # int16: a quarter is rounding
    assert set(np.unique(seg)) == set(np.unique(expected.labels["seg"])) >= {0, 1, 4, 5}
    for value in (1, 4, 5):
        both = [seg == value, expected.labels["seg"] == value]
        assert 2 * (both[0] & both[1]).sum() / (both[0].sum() + both[1].sum()) > 0.999
    few = ["--steps", "2", "--steps_per_epoch", "1", "--val_interval", "2", "--num_workers", "0", "--precision", "fp32"]
    more = ["--dataset_dir", str(tiny_dataset), "--run_dir", str(tmp_path / "run")]
    start = ["--initial_weights", "models/model.safetensors", "--initial_layers", "all"]
    monai(bundle, "--config_file", "configs/train.yaml", *more, *few, *start)
    assert load_model(tmp_path / "run" / "models" / "model.safetensors").spec == model.spec

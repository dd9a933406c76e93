# SPDX-License-Identifier: Apache-2.0
"""Pages of what was learned: maps are what the network computes, studies train what they say and go on."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from pipelines.learned import run_study, write_run
from pipelines.learned_maps import activations, central_patch, stored_p
from pipelines.learned_studies import Outcome, distances, duplicate, places, variants
from pipelines.runs import Run
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from sfg_med.model_file import LoadedModel, load_model, save_model
from sfg_med.networks import SFGUNet
from sfg_med.report.planes import PLANES
from sfg_med.report.sharing_files import Trajectories
from sfg_med.spec import ModelSpec


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> LoadedModel:
    return load_model(tiny_run / "models" / "model.safetensors")


def outside(source: str) -> list[str]:
    return re.findall(r"https?:|<script|<link|@import", re.sub(r"base64,[\w+/=]+", "", source))


def test_maps_are_what_the_network_computes(model: LoadedModel, tiny_dataset: Path) -> None:
    volume = read_volume(sorted(tiny_dataset.glob("*/mr.nii.gz"))[0])
    p = stored_p(model.network)
    found = activations(model, volume, p, "case1")
    image, _ = central_patch(volume, model.spec)
    with torch.no_grad():
        stages = list(model.network.stages(image[None]))
    names = [layer.name for layer in found.layers]
    assert names[:2] == ["down 1, conv 1", "down 1, conv 2"]
    slices = [int(i) for i in range(image.shape[-1]) if np.array_equal(found.image, PLANES[0].cut(image[0].numpy(), i))]
    for name, (first, last) in zip(("down 1", "down 2", "up 1"), stages, strict=True):
        for features, conv in ((first, 1), (last, 2)):
            layer = found.layers[names.index(f"{name}, conv {conv}")]
            volume_maps = features.maps[0][0].numpy()
            index = slices[0] * volume_maps.shape[-1] // image.shape[-1]
            expected = np.stack([PLANES[0].cut(kernel, index) for kernel in volume_maps])
            np.testing.assert_allclose(layer.maps, expected, rtol=1e-5, atol=1e-6)
    labels = model.network.assignments()["encoder.0.0.conv"].numpy()
    np.testing.assert_array_equal(found.layers[0].label, labels)


def test_in_the_path_form_a_kernel_shows_the_path_of_its_group(tmp_path: Path) -> None:
    network = SFGUNet(3, channels=(4, 6), form="paths", group_init="vertices").eval()
    network.freeze_groups()
    spec = ModelSpec(patch_size=(16, 16, 8), network={"name": "SFGUNet"})
    noise = np.random.default_rng(0).normal(size=(20, 18, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / "mr.nii.gz")
    loaded = LoadedModel(network, spec, "", Path("model"))
    found = activations(loaded, read_volume(tmp_path / "mr.nii.gz"), stored_p(network), "x")
    for layer in found.layers:
        spread = layer.maps.reshape(len(layer.p), -1).std(1)
        assert (spread > 0).all(), "a foreign path is masked: its map is empty"


def test_page_of_a_run_with_a_case(tiny_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    case = next(folder for folder in sorted(tiny_dataset.iterdir()) if folder.is_dir())
    source = write_run(tiny_run, case, tmp_path / "out").read_text()
    for words in ("along encoder and decoder", "Probabilities at step", "Entropy of the groups", "down 2, conv 2"):
        assert words in source
    assert case.name in source
    assert not outside(source)
    alone = write_run(tiny_run, None, tmp_path / "alone").read_text()
    assert "What the kernels see" not in alone
    with pytest.raises(SfgMedError, match="one case"):
        write_run(tiny_run, tiny_dataset, tmp_path / "all")
    with pytest.raises(SfgMedError, match="training run"):
        write_run(tmp_path / "nothing", None, tmp_path / "out")


def test_a_run_without_a_record_shows_what_its_model_holds(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    (run / "models" / "model.safetensors").write_bytes((tiny_run / "models" / "model.safetensors").read_bytes())
    source = write_run(run, None, tmp_path / "out").read_text()
    assert "from the model file" in source


def test_a_model_without_learned_groups_is_refused(model: LoadedModel, tiny_dataset: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "models" / "model.safetensors", model.network, model.spec, compact=True, provenance={})
    with pytest.raises(SfgMedError, match="learned groups"):
        write_run(tmp_path, sorted(tiny_dataset.glob("*/mr.nii.gz"))[0], tmp_path / "out")


def test_duplicates_read_one_file_twice() -> None:
    task = {"kind": "image", "name": "ct", "unit": "HU"}
    config = {
        "tasks": [{"kind": "labels", "name": "seg"}, task],
        "files": {"mr": "{case}_t2"},
        "task_weights": {"ct": 10},
    }
    found = variants("duplicates", config)
    assert found["distinct"] == {}
    assert found["duplicate"]["tasks"] == [task, {**task, "name": "ct2"}]
    assert found["duplicate"]["files"] == {"mr": "{case}_t2", "ct2": "{case}/ct"}
    assert found["duplicate"]["task_weights"] == {"ct": 10, "ct2": 10}
    assert duplicate(task, {**config, "files": {"ct": "ct/{case}"}})["files"]["ct2"] == "ct/{case}"
    assert [v["network::group_init"] for v in variants("initialisation", config).values()] == [
        [0.2, 0.6, 0.2],
        [0.45, 0.1, 0.45],
        "dirichlet",
        "vertices",
    ]
    with pytest.raises(SfgMedError, match="an image task"):
        variants("duplicates", {"tasks": config["tasks"][:1]})
    with pytest.raises(SfgMedError, match="duplicates"):
        variants("starts", config)


def outcome(strategy: str, seed: int, likeliest: list[list[int]]) -> Outcome:
    """Layers of kernels that are certain of a group at the end, from a start at a third each."""
    layers = tuple(np.stack([np.full((len(g), 3), 1 / 3), np.eye(3)[g] * 0.97 + 0.01]) for g in likeliest)
    free = np.array([[len(g) for g in likeliest]] * 2)
    keys = tuple(f"encoder.0.{i}.conv" for i in range(len(likeliest)))
    return Outcome(Run(strategy, seed, 0), Trajectories(("a", "a+b", "b"), keys, np.array([0, 9]), layers, free))


def test_distance_counts_the_kernels_that_would_have_to_change() -> None:
    first = outcome("x", 0, [[0, 0, 1, 2], [1, 1]])
    second = outcome("x", 1, [[0, 1, 1, 2], [1, 1]])  # one kernel of six
    other = outcome("y", 0, [[2, 1, 0, 0], [0, 2]])  # as the first, but for the two of the second layer
    table = distances([first, second, other])
    assert table["x"]["x"] == pytest.approx(1 / 6)
    assert table["x"]["y"] == table["y"]["x"] == pytest.approx(2 / 6)
    assert table["y"]["y"] is None
    numbers = first.numbers()
    assert numbers["shared_likeliest"] == pytest.approx(3 / 6)
    assert numbers["shared_start"] == pytest.approx(1 / 3)
    assert numbers["moved"] == pytest.approx(0.98 - 1 / 3)
    assert numbers["entropy_start"] == pytest.approx(np.log(3))
    assert numbers["layers"]["down 1, conv 2"]["likeliest"] == [0, 1, 0]


def test_places_of_the_simplex() -> None:
    p = np.array([[0.95, 0.03, 0.02], [0.02, 0.03, 0.95], [0.1, 0.8, 0.1], [0.48, 0.04, 0.48], [0.3, 0.36, 0.34]])
    assert places(p) == pytest.approx({"one task": 0.4, "shared": 0.2, "halves": 0.2, "thirds": 0.2})
    assert places(np.full((3, 4), 0.25)) == {}


@pytest.mark.parametrize("study", ["duplicates", pytest.param("initialisation", marks=pytest.mark.slow)])
def test_a_study_trains_its_variants_once(
    study: str, tiny: dict[str, Any], tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**tiny, "dataset_dir": str(tiny_dataset), "steps": 2, "val_interval": 9}
    assert run_study(study, tmp_path, [0], values, [], ["freeze_groups_at=null"]) == 0
    data = json.loads((tmp_path / "learned.json").read_text())
    expected = {"duplicates": {"duplicate", "distinct"}}.get(
        study, {"0.2-0.6-0.2", "0.45-0.1-0.45", "dirichlet", "vertices"}
    )
    assert {name.split("/")[0] for name in data["runs"]} == expected
    source = (tmp_path / "learned.html").read_text()
    assert not outside(source)
    if study == "duplicates":
        assert data["groups"] == {"duplicate": ["ct", "ct+ct2", "ct2"], "distinct": ["ct", "ct+seg", "seg"]}
        assert "Where p goes when both tasks are the same" in source
    else:
        shared = {name: run["shared_start"] for name, run in data["runs"].items()}
        assert shared["0.45-0.1-0.45/seed0"] == pytest.approx(0.1, abs=1e-3)
        assert shared["vertices/seed0"] == pytest.approx(1 / 3, abs=0.1)
        assert "How far the groupings are apart" in source
    capsys.readouterr()
    assert run_study(study, tmp_path, [0], values, [], ["freeze_groups_at=null"]) == 0
    assert capsys.readouterr().out.count("finished before") == len(expected)
    with pytest.raises(SfgMedError, match="steps"):
        run_study(study, tmp_path, [0], {**values, "steps": 4}, [], ["freeze_groups_at=null"])

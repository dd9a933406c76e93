# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from sfg_med.model_file import load_model, save_model
from sfg_med.networks import build_network
from sfg_med.spec import ModelSpec


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = {"name": "SFGUNet", "channels": [4, 8], "group_init": "dirichlet"}
    spec = ModelSpec(network=options, patch_size=(16, 16, 12))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(spec), spec, provenance={"seed": 0})
    return path


@pytest.mark.parametrize("task", [None, "seg"])
def test_a_compact_model_gives_the_same_output_after_save_and_load(
    model: Path, task: str | None, tmp_path: Path
) -> None:
    out = tmp_path / "compact.safetensors"
    words = ["export", "-m", str(model), "-o", str(out), *(["--task", task] if task else [])]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    original, compact = load_model(model), load_model(out)
    x = torch.randn(1, 1, 21, 16, 13)
    with torch.no_grad():
        expected = original.network(x)
        expected = original.network.split(expected)[task] if task else expected
        torch.testing.assert_close(compact.network(x), expected, rtol=1e-5, atol=1e-5)
    assert compact.spec.channels == ({"seg": 6} if task else {"ct": 1, "seg": 6})
    sizes = [sum(p.numel() for p in m.network.parameters()) for m in (compact, original)]
    assert sizes[0] < sizes[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["pt2", "onnx", "torchscript"])
def test_other_forms_are_compared_and_kept(model: Path, kind: str, tmp_path: Path) -> None:
    out = tmp_path / f"model.{kind}"
    result = CliRunner().invoke(app, ["export", "-m", str(model), "-o", str(out), "--format", kind])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 1000


def test_info_tells_what_a_model_is(model: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(model), "--json"])
    facts = json.loads(result.stdout)["model"]
    loaded = load_model(model)
    assert facts["sha256"] == loaded.sha256
    assert facts["groups"] == ["ct", "ct+seg", "seg"]
    shares = facts["group_shares"]["encoder.0.1.conv"]
    assert shares == pytest.approx(loaded.network.group_probabilities()["encoder.0.1.conv"].mean(0).tolist(), abs=1e-4)
    text = CliRunner().invoke(app, ["info", str(model)]).stdout
    assert loaded.sha256 in text
    assert "femoral_head_left" in text


@pytest.mark.parametrize(("words", "found"), [(["--format", "zip"], "zip"), (["--task", "liver"], "liver")])
def test_what_does_not_exist_is_refused(model: Path, words: list[str], found: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", "-m", str(model), "-o", str(tmp_path / "x"), *words])
    assert found in str(result.exception)
    assert not list(tmp_path.iterdir())


def untrained(path: Path, strategy: object) -> Path:
    network = {"name": "SFGUNet", "spatial_dims": 3, "channels": [4, 8], "strategy": strategy}
    about = ModelSpec(patch_size=(16, 16, 16), network=network)
    save_model(path, build_network(about).eval(), about, provenance={})
    return path


@pytest.mark.parametrize("strategy", ["hard-sharing", "single-task", "constant-mask"])
def test_one_task_of_a_fixed_pattern(strategy: str, tmp_path: Path) -> None:
    model, out = untrained(tmp_path / "model.safetensors", strategy), tmp_path / "seg.safetensors"
    done = CliRunner().invoke(app, ["export", "-m", str(model), "-o", str(out), "--task", "seg"])
    assert done.exit_code == 0, done.output
    assert load_model(out).spec.channels == {"seg": 6}


@pytest.mark.parametrize(
    ("strategy", "why"),
    [("constant-p", "constant probabilities"), ({"name": "sfg", "form": "paths"}, "one-formula form")],
)
def test_what_has_no_compact_form_is_one_line(strategy: object, why: str, tmp_path: Path) -> None:
    model, out = untrained(tmp_path / "model.safetensors", strategy), tmp_path / "out.safetensors"
    done = CliRunner().invoke(app, ["export", "-m", str(model), "-o", str(out)])
    assert isinstance(done.exception, SfgMedError)
    assert why in str(done.exception)
    assert not out.exists()

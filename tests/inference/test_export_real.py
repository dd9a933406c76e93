# SPDX-License-Identifier: Apache-2.0
"""Exported programs predict a real pelvis as the original does, in a process that has only their runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from sfg_med.data.cases import Case
from sfg_med.data.volumes import Volume, read_volume
from sfg_med.errors import SfgMedError
from sfg_med.inference import export
from sfg_med.inference.export import export_model
from sfg_med.inference.prediction import Prediction
from sfg_med.inference.predictor import Predictor
from sfg_med.metrics import organ_dice
from sfg_med.model_file import LoadedModel, load_model, save_model
from sfg_med.model_path import demonstration_model

# What a process without this project does: load, run each window, save. Nothing installed can be imported but what is
# listed; of the standard library everything can.
ALONE = """
import sys
class Only:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {allowed!r} | sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)
sys.meta_path = [Only(finder) for finder in sys.meta_path]
import numpy as np
windows = np.load({windows!r})
{load}
np.save({out!r}, np.concatenate([run(w[None]) for w in windows]))
assert {{"torch", "onnxruntime"}} & set(sys.modules) == {{{runtime!r}}}
try:
    import sfg_med
except ImportError:
    sys.exit(0)
sys.exit("the process can import the project")
"""
LOADERS = {
    "pt2": "import torch\nmodule = torch.export.load({path!r}).module()",
    "torchscript": "import torch\nmodule = torch.jit.load({path!r})",
    "onnx": "import onnxruntime\nsession = onnxruntime.InferenceSession({path!r})\nname = session.get_inputs()[0].name",
}
# What pip installs with each runtime, by the names that are imported; numpy for both.
REQUIRED = {
    "torch": {
        *("torch", "torchgen", "functorch", "numpy", "filelock", "typing_extensions", "setuptools", "_distutils_hack"),
        *("sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec"),
    },
    "onnxruntime": {"onnxruntime", "numpy", "flatbuffers", "packaging", "google"},
}
TORCH_RUN = "\nrun = lambda w: module(torch.from_numpy(w)).detach().numpy()"
ONNX_RUN = "\nrun = lambda w: session.run(None, {name: w})[0]"


class Recording(nn.Module):
    """Keeps the windows that a predictor shows it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.windows = network, []

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        self.windows.append(window.clone())
        return self.network(window)


class Replay(nn.Module):
    """Answers with what another process computed."""

    def __init__(self, outputs: np.ndarray) -> None:
        super().__init__()
        self.outputs: Iterator[np.ndarray] = iter(outputs)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(next(self.outputs))[None]


@pytest.fixture(scope="module")
def real_mr(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real whole pelvis, every third column and row, every second slice."""
    mr = nib.as_closest_canonical(nib.load(shared_data / "hipmri_pelvis" / "case018_week7_mr.nii.gz"))
    path = tmp_path_factory.mktemp("real") / "mr.nii.gz"
    nib.save(mr.slicer[::3, ::3, ::2], path)
    return path


def predict(model: LoadedModel, network: nn.Module, volume: Volume) -> Prediction:
    spoken = replace(model, network=network)  # type: ignore[arg-type]
    return Predictor(spoken, device="cpu", precision="fp32", overlap=0.25).predict(volume)


def close(found: Prediction, expected: Prediction) -> bool:
    hu = np.abs(found.images["ct"].astype(float) - expected.images["ct"]).mean()
    labels = [v for v in np.unique(expected.labels["seg"]) if v]
    dice = [organ_dice(found.labels["seg"] == v, expected.labels["seg"] == v) for v in labels]
    assert len(dice) >= 3
    print(f"{hu:.2e} HU, smallest Dice {min(dice):.6f}")
    return hu < 1 and min(dice) > 0.999


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
def test_programs_alone_predict_a_real_pelvis_as_the_original(real_mr: Path, tmp_path: Path) -> None:
    model, volume = load_model(demonstration_model()), read_volume(real_mr)
    recording = Recording(model.network)
    expected = predict(model, recording, volume)
    windows = tmp_path / "windows.npy"
    np.save(windows, torch.cat(recording.windows).numpy())
    for kind, load in LOADERS.items():
        path, out = tmp_path / f"model.{kind}", tmp_path / f"{kind}.npy"
        export_model(model, path, kind)
        runtime = "onnxruntime" if kind == "onnx" else "torch"
        run = load.format(path=str(path)) + (ONNX_RUN if kind == "onnx" else TORCH_RUN)
        program = ALONE.format(allowed=REQUIRED[runtime], runtime=runtime, windows=str(windows), load=run, out=str(out))
        done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        assert close(predict(model, Replay(np.load(out)), volume), expected), kind


@pytest.mark.slow
@pytest.mark.shared
def test_export_checks_its_file_on_a_volume(real_mr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the network that trains to its compact form; and a file that answers otherwise is not kept."""
    trained = load_model(demonstration_model(), trainable=True)
    path = tmp_path / "trained.safetensors"
    save_model(path, trained.network, trained.spec, provenance={})
    cases = [Case("real", {"mr": real_mr}, {})]
    model = load_model(path)
    done = export_model(model, tmp_path / "compact.safetensors", "compact", cases=cases)
    assert done.checks["compact"].hu < 1
    assert done.checks["compact"].dice < 0.001
    assert min(done.seconds) > 0
    volume = read_volume(real_mr)
    compact = load_model(tmp_path / "compact.safetensors")
    assert close(predict(compact, compact.network, volume), predict(model, model.network, volume))

    def off_by_little(made: export.Making) -> export.Program:
        made.path.write_bytes(b"x")
        return lambda windows: made.network(windows) + 0.002 * (windows.sum() != made.example.sum())  # 2 HU

    monkeypatch.setitem(export.FORMATS, "pt2", off_by_little)
    with pytest.raises(SfgMedError, match="predictions within 1 HU"):
        export_model(model, tmp_path / "wrong.pt2", "pt2", cases=cases)
    assert not (tmp_path / "wrong.pt2").exists()

# SPDX-License-Identifier: Apache-2.0
"""Model files: what is saved is what is loaded, and anything else is one line."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sfg_med.errors import SfgMedError
from sfg_med.model_file import digest, load_model, save_model
from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

NETWORK = {
    "name": "SFGUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "channels": [4, 8],
    "strides": [2],
    "kernel_sizes": [3, 3],
}
SPEC = ModelSpec(
    tasks=(ImageTask(value_range=(-1000.0, 2000.0)), LabelTask(labels={"a": 3, "b": 1})),
    spacing_mm=(2.0, 2.5, 3.0),
    patch_size=(16, 16, 8),
    network=NETWORK,
    input_name="t2",
)


@pytest.fixture(scope="module")
def network() -> MultiTaskNetwork:
    """A network with free groups and random probabilities, so that compacting really removes something."""
    torch.manual_seed(5)
    made = build_network(SPEC)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("rho"):
                parameter.normal_(std=2.0)
    return made.eval()


@pytest.fixture
def saved(network: MultiTaskNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, network, SPEC, provenance={"seed": 7})
    return path


@pytest.mark.parametrize("compact", [False, True])
def test_round_trip(network: MultiTaskNetwork, tmp_path: Path, compact: bool) -> None:
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, network, SPEC, compact=compact, provenance={"seed": 7, "train": ["a"]})
    model = load_model(path)
    image = torch.randn(2, 1, 16, 16, 8)
    with torch.no_grad():
        expected, found = network(image), model.network(image)
    torch.testing.assert_close(found, expected, rtol=1e-5 if compact else 0, atol=1e-6 if compact else 0)
    assert expected.std() > 0
    assert model.spec == SPEC
    assert not model.network.training
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.metadata["provenance"] == {"seed": 7, "train": ["a"]}
    assert model.metadata["compact"] is compact
    assert model.path == path
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"


def test_compacting_leaves_kernels_out(network: MultiTaskNetwork, saved: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "compact.safetensors", network, SPEC, compact=True, provenance={})
    whole, compact = load_file(saved), load_file(tmp_path / "compact.safetensors")
    assert sum(t.numel() for t in compact.values()) < sum(t.numel() for t in whole.values())


def test_saving_does_not_change_the_network(network: MultiTaskNetwork, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    save_model(tmp_path / "m.safetensors", network, SPEC, compact=True, provenance={})
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def about(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["sfg_med"])


def rewrite(path: Path, tensors: dict[str, torch.Tensor], changes: dict) -> None:
    text = json.dumps({**about(path), **changes})
    save_file(tensors, path, metadata={"sfg_med": text, "sfg_med_sha256": digest(text, tensors)})


class Attack:
    """What a pickle would run."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("attacked"),)


def spoil_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Attack()))


def spoil_torch(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def spoil_text(path: Path) -> None:
    path.write_text("weights of a model\n" * 100)


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def spoil_missing_tensor(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    rewrite(path, tensors, {})


def spoil_shape(path: Path) -> None:
    spec = about(path)["spec"]
    spec["network"]["channels"] = [4, 12]
    rewrite(path, load_file(path), {"spec": spec})


def spoil_network(path: Path) -> None:
    spec = about(path)["spec"]
    spec["network"]["name"] = "os.system"
    rewrite(path, load_file(path), {"spec": spec})


def spoil_spec(path: Path) -> None:
    rewrite(path, load_file(path), {"spec": {"tasks": [{"kind": "sound"}]}})


def spoil_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def spoil_what_it_says(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"2000.0", b"3000.0"))


def spoil_hash(path: Path) -> None:
    save_file(load_file(path), path, metadata={"sfg_med": json.dumps(about(path))})


@pytest.mark.parametrize(
    "spoil",
    [
        *(spoil_pickle, spoil_torch, spoil_truncated, spoil_text, spoil_empty, spoil_foreign),
        *(spoil_missing_tensor, spoil_shape, spoil_network, spoil_spec),
        *(spoil_a_bit, spoil_what_it_says, spoil_hash),
    ],
)
def test_anything_else_is_refused_in_one_line(
    saved: Path, spoil: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(saved)  # type: ignore[operator]
    with pytest.raises(SfgMedError) as caught:
        load_model(saved)
    assert "model.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert not (tmp_path / "attacked").exists()


JUNK = (None, True, -1, 10**9, 1e300, "", "x" * 300, "../..", [], [[]], {}, {"name": "x"}, ["a", 1], [[[[0]]]])


def places(value: object, way: tuple = ()) -> list[tuple]:
    """Ways to every value in nested JSON."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [way, *(found for key in keys for found in places(value[key], (*way, key)))]  # type: ignore[index]


@pytest.mark.parametrize("compact", [False, True])
def test_whatever_a_file_says_is_a_model_or_one_line(network: MultiTaskNetwork, tmp_path: Path, compact: bool) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, network, SPEC, compact=compact, provenance={})
    tensors, original = load_file(path), about(path)
    ways = [way for way in places({k: v for k, v in original.items() if k != "provenance"}) if way]
    ways = [way for way in ways if way[0] != "assignment" or way[-1] in (0, "assignment")]
    refused = 0
    for number, way in enumerate(ways):
        for junk in (JUNK[number % len(JUNK)], JUNK[(5 * number + 3) % len(JUNK)]):
            changed = json.loads(json.dumps(original))
            place = changed
            for key in way[:-1]:
                place = place[key]
            place[way[-1]] = junk
            text = json.dumps(changed)
            save_file(tensors, path, metadata={"sfg_med": text, "sfg_med_sha256": digest(text, tensors)})
            try:
                load_model(path)
            except SfgMedError as error:
                refused += len(str(error).splitlines()) == 1
    assert refused > len(ways) / 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SfgMedError, match=r"nothing there.*-m"):
        load_model(tmp_path / "none.safetensors")

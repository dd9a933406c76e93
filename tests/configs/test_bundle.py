# SPDX-License-Identifier: Apache-2.0
"""The repository root is a MONAI bundle: configs, metadata and network fit each other."""

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out

import sfg_med

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
METADATA = CONFIGS / "metadata.json"
SHARED_KNOBS = ("input_name", "tasks", "spacing_mm", "patch_size", "network", "overlap", "sw_batch_size", "precision")


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
        yield


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / name).read_text())


def metadata() -> dict[str, Any]:
    return json.loads(METADATA.read_text())


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.name)
def test_every_config_parses_and_has_no_key_twice(path: Path) -> None:
    assert isinstance(ConfigParser.load_config_file(str(path)), dict)

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            keys = [self.construct_object(k, deep=True) for k, _ in node.value]
            assert len(keys) == len(set(keys)), f"{path.name}: a key is given twice among {keys}"
            return super().construct_mapping(node, deep)

    yaml.load(path.read_text(), Strict)


@pytest.mark.parametrize(
    ("files", "kind"),
    [(["train.yaml"], "train"), (["train.yaml", "evaluate.yaml"], "train"), (["inference.yaml"], "infer")],
)
def test_monai_finds_every_property_that_it_wants(
    files: list[str], kind: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    overrides: dict[str, Any] = {"dataset_dir": str(tiny_dataset)}
    if kind == "infer":
        overrides["ckpt_path"] = str(small_checkpoint(tmp_path))
    else:
        overrides |= {"run_dir": str(tmp_path / "run"), "model_file": str(small_checkpoint(tmp_path))}
    if files == ["train.yaml"]:
        overrides.pop("model_file")
    workflow = ConfigWorkflow(
        config_file=[str(CONFIGS / f) for f in files],
        meta_file=str(METADATA),
        logging_file=False,
        workflow_type=kind,
        **overrides,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def small_checkpoint(folder: Path) -> Path:
    """Random weights of the configs' network."""
    parser = ConfigParser(load("inference.yaml"))
    path = folder / "model.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["train.yaml", "inference.yaml"])
def test_the_network_has_the_shapes_of_the_metadata(name: str) -> None:
    verify_net_in_out(
        net_id="network_def", meta_file=str(METADATA), config_file=str(CONFIGS / name), device="cpu", p=1, n=1
    )


def test_the_metadata_fits_the_schema(tmp_path: Path) -> None:
    """MONAI takes the schema at ``filepath`` if it exists, and downloads one otherwise."""
    schema = Path(__file__).parent / "meta_schema.json"
    known = hashlib.md5(schema.read_bytes(), usedforsecurity=False).hexdigest()
    verify_metadata(meta_file=str(METADATA), filepath=str(schema), hash_val=known)
    wrong = metadata()
    del wrong["network_data_format"]["outputs"]["pred"]["num_channels"]
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="num_channels"):
        verify_metadata(meta_file=str(tmp_path / "wrong.json"), filepath=str(schema), hash_val=known)


def test_versions_are_those_of_the_package_and_of_the_constraints() -> None:
    data = metadata()
    assert data["version"] == sfg_med.__version__
    assert data["version"] in data["changelog"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(re.fullmatch(r"([\w.-]+)==(\S+)", line).groups() for line in lines if "==" in line)  # type: ignore[union-attr]
    pinned = {name.lower(): version for name, version in pinned.items()}
    named = {"monai": data["monai_version"], "torch": data["pytorch_version"], "numpy": data["numpy_version"]}
    for package, version in {**named, **data["required_packages_version"]}.items():
        assert pinned[package.lower()] == version, package


def test_inference_reads_and_writes_what_was_trained() -> None:
    train, inference = load("train.yaml"), load("inference.yaml")
    for knob in SHARED_KNOBS:
        assert inference[knob] == train[knob], knob


def test_channels_of_the_metadata_are_those_of_the_tasks() -> None:
    config, data = load("train.yaml"), metadata()["network_data_format"]
    expected = []
    for task in config["tasks"]:
        expected += [task["name"]] if task["kind"] == "image" else ["background", *task["labels"]]
    output, image = data["outputs"]["pred"], data["inputs"]["image"]
    channels = output["channel_def"]
    assert list(channels) == [str(i) for i in range(len(expected))]
    assert output["num_channels"] == len(expected)
    for name, text in zip(expected, channels.values(), strict=True):
        assert text == f"logit of {name}" if name != "ct" else "CT" in text
    assert image["spatial_shape"] == output["spatial_shape"] == config["patch_size"]
    assert image["num_channels"] == config["network"]["in_channels"]


def test_the_bundle_has_its_licence_and_readme() -> None:
    assert (ROOT / "LICENSE").is_file()
    assert (ROOT / "docs" / "README.md").is_file()

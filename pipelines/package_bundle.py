# SPDX-License-Identifier: Apache-2.0
"""The zip that a MONAI user downloads: ``python -m pipelines.package_bundle --out FILE.zip``.

A folder with configs, weights, model card, licence and hashes, from which ``python -m monai.bundle`` runs. The same
model and options give the same bytes: names are sorted, times are fixed, and nothing is compressed.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated

import typer

from pipelines.bundle_card import bundle_card, known_performance
from pipelines.bundle_configs import bundle_configs, bundle_metadata, is_simulated
from pipelines.command import run_command
from sfg_med.data.atomic import atomic_path
from sfg_med.data.cases import Case
from sfg_med.errors import SfgMedError
from sfg_med.model_file import LoadedModel, load_model
from sfg_med.model_path import find_model
from sfg_med.training.runner import config_dir

NAME = "pelvis_mr_synthetic_ct_segmentation"
FORMS = {"torchscript": "models/model.ts", "pt2": "models/model.pt2", "onnx": "models/model.onnx"}
TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
SUMS = "SHA256SUMS"
SIMULATED_DATA = (
    b"The weights were trained on simulated patients only (sfg-med simulate). No patient's data were used.\n"
)
UNKNOWN_DATA = b"Whoever made this bundle did not state the licence of the training data.\n"


def main(
    out: Annotated[Path, typer.Option(help="Zip file to write.")],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model file or folder of a run.")] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle: the folder in the zip.")] = NAME,
    metadata: Annotated[Path | None, typer.Option(help="JSON laid over metadata.json: name, description ...")] = None,
    performance: Annotated[Path | None, typer.Option(help="Markdown for the card's section on performance.")] = None,
    data_license: Annotated[Path | None, typer.Option(help="Text of docs/data_license.txt.")] = None,
    wheel: Annotated[Path | None, typer.Option(help="Wheel of sfg_med to put in.")] = None,
    forms: Annotated[str, typer.Option(help=f"Exported programs to add: {', '.join(FORMS)}.")] = "",
    volume: Annotated[
        list[Path] | None, typer.Option(help="A volume that they are checked on; may be repeated.")
    ] = None,
) -> None:
    """Pack a model as a MONAI bundle. For research only, not for clinical use."""
    loaded = load_model(find_model(model))
    files: dict[str, bytes] = {"LICENSE": licence(), "docs/data_license.txt": _data_licence(loaded, data_license)}
    for config, text in bundle_configs(loaded, config_dir()).items():
        files[f"configs/{config}"] = text.encode()
    more = json.loads(_read(metadata)) if metadata else {}
    about = bundle_metadata(loaded, config_dir(), more)
    files["configs/metadata.json"] = (json.dumps(about, indent=2) + "\n").encode()
    files["models/model.safetensors"] = loaded.path.read_bytes()
    files["models/model.pt"] = plain_weights(loaded)
    measured = _add_forms(files, loaded, [f for f in forms.split(",") if f], volume or [])
    if wheel:
        files[wheel.name] = _read(wheel)
    known = known_performance(loaded, loaded.path.parent / "README.md")
    text = _read(performance).decode() if performance else known
    files["docs/README.md"] = bundle_card(loaded, about, text, measured, wheel.name if wheel else "").encode()
    files[SUMS] = sums(files)
    check_weights(files, loaded)
    write_zip(out, name, files)
    data = out.read_bytes()
    typer.echo(f"{out}: {name}, {len(files)} files, {len(data) / 2**20:.1f} MiB")
    typer.echo(f"sha256 {hashlib.sha256(data).hexdigest()}")
    typer.echo(f"sha1 {hashlib.sha1(data, usedforsecurity=False).hexdigest()} (what MONAI's model zoo lists)")


def plain_weights(model: LoadedModel) -> bytes:
    """``model.pt``: the state of the network that the configs build, groups included."""
    import torch

    buffer = io.BytesIO()
    torch.save(load_model(model.path, trainable=True).network.state_dict(), buffer)
    return buffer.getvalue()


def check_weights(files: Mapping[str, bytes], model: LoadedModel) -> None:
    """The packed config with the packed weights must be the model.

    Raises:
        SfgMedError: if the outputs differ.
    """
    import torch
    import yaml
    from monai.bundle import ConfigParser

    from sfg_med.inference.export import TOLERANCE

    parser = ConfigParser(yaml.safe_load(files["configs/inference.yaml"]))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(io.BytesIO(files["models/model.pt"]), weights_only=True))
    window = torch.randn(network.example_input().shape[:2] + tuple(model.spec.patch_size))
    with torch.no_grad():
        expected = model.network(window)
        difference = ((network(window) - expected).abs().max() / expected.abs().max()).item()
    if not difference <= TOLERANCE:
        found = f"a relative difference of {difference:.1e}"
        raise SfgMedError(model.path, "configs that give the model's output", found, "report this; nothing was written")


def sums(files: Mapping[str, bytes]) -> bytes:
    """What ``sha256sum -c`` reads."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(files.items())).encode()


def write_zip(path: Path, folder: str, files: Mapping[str, bytes]) -> None:
    """Write a zip whose bytes depend on names and contents only."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{folder}/{name}", TIME)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data)


def licence() -> bytes:
    """The project's licence, from the checkout or from the installed package."""
    beside = config_dir().parent / "LICENSE"
    if beside.is_file():
        return beside.read_bytes()
    found = [f for f in distribution("sfg-med").files or [] if f.name == "LICENSE"]
    return found[0].read_binary()


def _add_forms(
    files: dict[str, bytes], model: LoadedModel, kinds: Sequence[str], volumes: Sequence[Path]
) -> dict[str, str]:
    """Export the programs that were asked for, and say what was measured of each.

    Raises:
        SfgMedError: for an unknown form, no volume to check it on, or predictions that differ from the model's.
    """
    from sfg_med.inference.export import export_model

    if kinds and not volumes:
        raise SfgMedError("--forms", "a volume that the programs are checked on", "none", "give --volume")
    measured = {}
    cases = [Case(path.name, {model.spec.input_name: path}, {}) for path in volumes]
    for kind in kinds:
        if kind not in FORMS:
            raise SfgMedError("--forms", ", ".join(FORMS), repr(kind), "choose some of them")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(FORMS[kind]).name
            done = export_model(model, path, kind, cases=cases)
            files[FORMS[kind]] = path.read_bytes()
        words = f"relative difference to the original {done.difference:.1e}"
        measured[FORMS[kind]] = f"{words}; {done.checks[kind]}"
    return measured


def _data_licence(model: LoadedModel, path: Path | None) -> bytes:
    return _read(path) if path else SIMULATED_DATA if is_simulated(model) else UNKNOWN_DATA


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SfgMedError(path, "a file to read", error.strerror or "none", "check the path") from error


if __name__ == "__main__":
    run_command(main)

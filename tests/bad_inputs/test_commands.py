# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` on the whole corpus: every file becomes a result on its own grid, or one line."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from sfg_med.data.volumes import read_volume, volume_stem, volume_suffix
from sfg_med.errors import printable
from sfg_med.model_file import save_model
from sfg_med.networks import build_network
from sfg_med.report.prediction_page import write_qc_page
from sfg_med.spec import ModelSpec
from tests.bad_inputs.bad_file import BadFile
from tests.bad_inputs.commands import Said, run, state
from tests.bad_inputs.make_bad_inputs import write_corpus

SPEC = ModelSpec(spacing_mm=(20.0,) * 3, patch_size=(16, 16, 16), network={"name": "SFGUNet", "channels": [2, 2]})
TASKS = {"ct", "seg"}
pytestmark = pytest.mark.slow


class Predicted(NamedTuple):
    """What a call was given and what it did."""

    files: list[BadFile]
    folder: Path
    output: Path
    model: Path
    said: Said


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(SPEC, where="test").eval(), SPEC, provenance={})
    return path


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Predicted:
    root = tmp_path_factory.mktemp("predict")
    files = write_corpus(root / "in")
    return Predicted(files, root / "in", root / "out", model, predict(root / "in", root / "out", model))


def predict(source: Path, output: Path, model: Path, *options: str) -> Said:
    """Draw few pictures: they take longer than the predictions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(write_qc_page.__kwdefaults__, "pictured", 3)
        before = state(source.parent if source.is_file() else source)
        said = run("predict", "-i", source, "-o", output, "-m", model, "--device", "cpu", *options)
        assert state(source.parent if source.is_file() else source).items() >= before.items()
    return said


def is_input(path: Path) -> bool:
    """Of a folder, what has the name of a volume is an input, unless it is a folder or hidden."""
    there = os.path.lexists(path) and not path.is_dir()
    return there and bool(volume_suffix(path)) and not path.name.startswith(".")


def records(output: Path) -> dict[str, dict[str, Any]]:
    return {record["case"]: record for record in json.loads((output / "manifest.json").read_text())["cases"]}


def failures(said: Said) -> list[str]:
    return [line for line in said.errors if line.startswith("failed: ")]


def faults(files: Iterable[tuple[str, BadFile]], output: Path) -> list[str]:
    """Cases that are not what is expected of their files."""
    found = records(output)
    return [f"{case!r}: {fault}" for case, file in files if (fault := _fault(file, found[case], output))]


def _fault(file: BadFile, record: dict[str, Any], output: Path) -> str:
    error = record["error"]
    if file.said:
        named = error.startswith(f"{printable(str(file.path))}: ") and error.isprintable()
        right = record["status"] == "failed" and not record["files"] and named and re.search(file.said, error)
        return "" if right else f"not refused with {file.said!r}: {record}"
    if record["status"] != "done" or record["files"].keys() != TASKS:
        return f"not done: {record}"
    assert file.array is not None
    for name in record["files"].values():
        volume = read_volume(output / name, blank_ok=True)
        if volume.array.shape != file.array.shape or not np.allclose(volume.affine, file.affine, rtol=1e-5, atol=1e-3):
            return f"{name} on another grid"
    return ""


def test_every_file_of_a_folder_is_a_result_or_one_line(predicted: Predicted) -> None:
    by_case: dict[str, list[BadFile]] = defaultdict(list)
    for file in predicted.files:
        if is_input(file.path):
            by_case[(file.path.parent.relative_to(predicted.folder) / volume_stem(file.path)).as_posix()].append(file)
    found = records(predicted.output)
    # files with DICOM's mark are looked at as a series of their folder, too, whatever their names
    assert found.keys() == by_case.keys() | {"wrong_magic"}
    assert "files that cannot be read" in found["wrong_magic"]["error"]
    assert predicted.said.code == 1
    single = [(case, files[0]) for case, files in by_case.items() if len(files) == 1]
    assert not faults(single, predicted.output)
    for case, files in by_case.items():  # that differ in their suffix only
        error = found[case]["error"]
        if len(files) > 1:
            assert "one input for each output" in error
            assert all(printable(str(file.path)) in error for file in files)
    failed = [record for record in found.values() if record["status"] == "failed"]
    assert failures(predicted.said) == [printable(f"failed: {r['case']}: {r['error']}") for r in failed]
    assert len(failed) < len(found) - 50


def test_nothing_else_is_written(predicted: Predicted) -> None:
    listed = {name for record in records(predicted.output).values() for name in record["files"].values()}
    written = {str(Path(name).relative_to(predicted.output)) for name in state(predicted.output)}
    assert written == listed | {"manifest.json", "cases.csv", "qc.html"}
    assert {path.name for path in predicted.output.parent.iterdir()} == {"in", "out"}


def test_tables_and_page_are_readable_whatever_the_names(predicted: Predicted) -> None:
    text = (predicted.output / "cases.csv").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.split("\n"))
    rows = {row["case"]: row for row in csv.DictReader(text.splitlines())}
    assert rows.keys() == set(map(printable, records(predicted.output)))
    assert {"name/a\\nb", "name/\\x1b[31m", "name/\\udcff", "name/日本"} <= rows.keys()
    assert "日本" in (predicted.output / "qc.html").read_text(encoding="utf-8")
    assert not [line for line in predicted.said.errors if "warning" in line]
    for name in ("cases.csv", "manifest.json", "qc.html"):
        assert "Traceback" not in (predicted.output / name).read_text(encoding="utf-8")


def test_a_second_call_goes_on(predicted: Predicted) -> None:
    before = state(predicted.output)
    said = predict(predicted.folder, predicted.output, predicted.model, "--json")
    assert said.code == 1
    assert failures(said) == failures(predicted.said)
    facts, found = json.loads(said.out), records(predicted.output)
    assert (facts["done"], facts["skipped"]) == (0, sum(r["status"] == "done" for r in found.values()))
    after = state(predicted.output)
    assert {name for name in after if before[name] != after[name]} == {
        str(predicted.output / name) for name in ("manifest.json", "cases.csv", "qc.html")
    }


def test_a_list_gives_every_file_a_name_of_its_own(predicted: Predicted, tmp_path: Path) -> None:
    """Also those that differ in their suffix only, that are absent, and that a folder does not show."""
    twins = {"only_the_suffix_differs", "no_file", "name", "other_file", "dimensions"}
    chosen = [f for f in predicted.files if f.family in twins and "\udcff" not in f.path.name]
    named = {f"{number}": file for number, file in enumerate(chosen)}
    more = [("~nouser/x.nii.gz", "home"), (f"{'y' * 5000}.nii", "long"), ("good.nii.gz", "n" * 300), ("x.nii", "../up")]
    (tmp_path / "list").mkdir()
    with (tmp_path / "list/all.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [("image", "case"), *((str(bad.path), case) for case, bad in named.items()), *more]
        csv.writer(file).writerows(rows)
    (tmp_path / "list/good.nii.gz").symlink_to(next(f for f in chosen if f.family == "only_the_suffix_differs").path)
    said = predict(tmp_path / "list/all.csv", tmp_path / "out", predicted.model)
    assert said.code == 1
    assert not faults(named.items(), tmp_path / "out")
    found = records(tmp_path / "out")
    for case, words in (("home", "no such file"), ("long", "name too long"), ("n" * 300, "name too long")):
        assert words in found[case]["error"].lower()
    assert "inside the output folder" in found["../up"]["error"]
    assert {path.name for path in tmp_path.iterdir()} == {"list", "out"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'image\n"x.nii', "unexpected end of data"),
        (b'image\n"x"y.nii', "delimiter expected|expected after"),
        (b"image\n" + b"x" * 200_000, "field larger than"),
        (b"image\n\0.nii\n\xff", "can't decode"),
        (b"image\n", "no row with a path"),
    ],
)
def test_lists_that_are_none_are_one_line(model: Path, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    for arguments in (("predict", "-m", model), ("prepare",)):
        code, out, errors = run(*arguments, "-i", tmp_path / "list.csv", "-o", tmp_path / "out")
        assert (code, out, len(errors)) == (2, "", 1)
        assert re.search(words if arguments[0] == "predict" or "no row" not in words else "columns", errors[0])


@pytest.mark.parametrize("name", ["x" * 300, "loop", "~nouser"])
def test_inputs_that_are_no_path_are_one_line(model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for arguments in (("predict", "-m", model), ("prepare",)):
        code, _, errors = run(*arguments, "-i", tmp_path / name, "-o", tmp_path / "out")
        assert (code, len(errors)) == (2, 1)
        assert "no such path" in errors[0]

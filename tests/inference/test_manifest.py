# SPDX-License-Identifier: Apache-2.0
"""Manifests of processes that run at the same time."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sfg_med.errors import SfgMedError
from sfg_med.inference.manifest import Manifest, now


def _record(case: str, **values: object) -> dict:
    start = {
        "status": "done",
        "skipped": False,
        "seconds": 1.0,
        "error": "",
        "finished": now(),
        "measures": {},
        "flags": [],
    }
    return {"case": case, **start, **values}


def _cases(folder: Path) -> list[str]:
    return [record["case"] for record in json.loads((folder / "manifest.json").read_text())["cases"]]


@pytest.mark.parametrize("trial", range(5))
def test_parts_that_end_at_the_same_time_lose_nothing(tmp_path, trial) -> None:
    parts = 8

    def work(part: int) -> None:
        manifest = Manifest(tmp_path, {}, [], (part, parts))
        for i in range(trial):
            manifest.put(_record(f"{part}-{i}"))
        manifest.put(_record(f"{part}-end"))
        manifest.save(last=True)

    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(work, range(parts)))
    expected = {f"{p}-{i}" for p in range(parts) for i in [*range(trial), "end"]}
    assert set(_cases(tmp_path)) == expected
    with (tmp_path / "cases.csv").open() as file:
        assert {row["case"] for row in csv.DictReader(file)} == expected


def test_the_newest_record_counts_wherever_it_is(tmp_path) -> None:
    part = Manifest(tmp_path, {}, ["volume_ml_x"], (0, 2))
    part.put(_record("a", status="failed", error="first, with a comma"))
    whole = Manifest(tmp_path, {}, ["volume_ml_x"])
    assert whole.get("a")["status"] == "failed"
    whole.put(_record("a", measures={"volume_ml_x": 1.5, "mean_hu_z": 3}, flags=["empty:y", "fov_edge:x"]))
    Manifest(tmp_path, {}, ["volume_ml_x"], (1, 2)).save(last=True)
    with (tmp_path / "cases.csv").open() as file:
        reader = csv.DictReader(file)
        (row,) = reader
        assert reader.fieldnames == [
            "case",
            "status",
            "seconds",
            "volume_ml_x",
            "mean_hu_z",
            "flags",
            "error",
        ]
    assert (row["status"], row["volume_ml_x"], row["flags"]) == ("done", "1.5", "empty:y;fov_edge:x")


def test_a_broken_manifest_is_said(tmp_path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(SfgMedError, match=r"manifest\.json"):
        Manifest(tmp_path, {}, [])


@pytest.mark.parametrize(
    "change",
    [
        *({"case": None}, {"status": 1}, {"finished": None}, {"error": None}, {"seconds": "1"}, {"flags": [1]}),
        *({"measures": []}, {"measures": {"a": "1"}}, {"measures": {"a": float("inf")}}),
        *({"files": {"ct": 1}}, {"files": []}),
    ],
)
def test_records_that_are_none_are_one_line(tmp_path, change) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"cases": [{**_record("a"), **change}]}))
    with pytest.raises(SfgMedError, match=f"a case without {next(iter(change))} as predict writes it"):
        Manifest(tmp_path, {}, [])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"cases": [1]}', '{"cases": {"a": 1}}', '{"cases": 1}', "[]", "1"])
def test_documents_that_are_none_are_one_line(tmp_path, text) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SfgMedError, match="delete it or choose another -o"):
        Manifest(tmp_path, {}, [])


def test_unknown_keys_are_left_out(tmp_path) -> None:
    deep = '{"x":' * 400 + "1" + "}" * 400
    (tmp_path / "manifest.json").write_text(json.dumps({"cases": [_record("a")]})[:-3] + f', "y": {deep}}}]}}')
    Manifest(tmp_path, {}, []).save()
    assert _cases(tmp_path) == ["a"]

# SPDX-License-Identifier: Apache-2.0
"""Find what predict wrote and the reference that belongs to it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from sfg_med.data.volumes import VOLUME_SUFFIXES
from sfg_med.data.walk import exists, real
from sfg_med.errors import SfgMedError
from sfg_med.spec import ModelSpec

MANIFEST = "manifest.json"


def read_json(path: Path, expected: str) -> Any:
    """Read a JSON file or say in one line why not."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror or "an unreadable file"
        raise SfgMedError(path, expected, found, "check the path") from error
    except (ValueError, RecursionError) as error:
        raise SfgMedError(path, expected, f"no JSON ({error})"[:300], "write it again") from error


def find_volumes(folder: Path, stem: str) -> list[Path]:
    """Paths of ``<folder>/<stem>`` with whatever suffix of a volume."""
    paths = (folder / f"{stem}{suffix}" for suffix in VOLUME_SUFFIXES)
    return [path for path in paths if exists(path) and not path.is_dir()]


@dataclass(frozen=True)
class Predictions:
    """A folder that ``sfg-med predict`` wrote, or one with files named like it.

    Args:
        folder: the folder.
        spec: the model's specification; the default pelvis model where nothing says otherwise.
        manifest: content of ``manifest.json``; empty without one.
        spec_is_known: whether the specification came from the manifest or the user, not from the default.
    """

    folder: Path
    spec: ModelSpec
    manifest: Mapping[str, Any] = field(default_factory=dict)
    spec_is_known: bool = False

    @cached_property
    def records(self) -> dict[str, Mapping[str, Any]]:
        """Case name to its record in the manifest."""
        return {str(record["case"]): record for record in self.manifest.get("cases", [])}

    @cached_property
    def name_by_input(self) -> dict[Path, str]:
        """Input file to case name, from the manifest."""
        sources = ((record.get("input"), name) for name, record in self.records.items())
        return {real(Path(source)): name for source, name in sources if source}

    def file(self, case: str, task: str) -> Path | None:
        """File of one case and output key (a task, or ``ct_std``), the first if there are several."""
        return next(iter(self.all_files(case, task)), None)

    def all_files(self, case: str, task: str) -> list[Path]:
        """Files that could be meant: where there are several, nobody knows which.

        Of a case in the manifest only what that lists: other files may be left of another run.
        """
        record = self.records.get(case)
        if record is not None and "files" in record:
            relative = record["files"].get(task)
            return [self.folder / relative] if relative and exists(self.folder / relative) else []
        beside = self.folder / f"{case}_{task}"  # for an input case.nii.gz in place of case/mr.nii.gz
        in_folder = find_volumes(self.folder / case, f"{self.spec.input_name}_{task}")
        return in_folder or find_volumes(beside.parent, beside.name)


def open_predictions(folder: Path, spec: ModelSpec | None = None) -> Predictions:
    """Read the manifest of a prediction folder, if it has one.

    Args:
        folder: what ``predict -o`` named.
        spec: specification that overrides the manifest's.

    Raises:
        SfgMedError: if the folder or its manifest cannot be read.
    """
    if not folder.is_dir():
        raise SfgMedError(folder, "a folder of predictions", "no such folder", "give the -o folder of sfg-med predict")
    path = folder / MANIFEST
    manifest = read_json(path, "the manifest of sfg-med predict") if path.is_file() else {}
    try:
        _check(manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SfgMedError(path, "the manifest of sfg-med predict", repr(error)[:300], "predict again") from error
    stored = (manifest.get("model") or {}).get("spec") or manifest.get("spec")
    if spec is None and stored:
        spec = ModelSpec.from_dict(stored, where=str(path))
        return Predictions(folder, spec, manifest, spec_is_known=True)
    return Predictions(folder, spec or ModelSpec(), manifest, spec_is_known=spec is not None)


def _check(manifest: Any) -> None:
    """A manifest may come from anywhere: what it names lies in its folder."""
    dict(manifest.get("model") or {})
    for record in manifest.get("cases", []):
        Path(record.get("input") or "")
        for name in (record["case"], *(record.get("files") or {}).values()):
            parts = PurePath(name).parts
            if not parts or PurePath(name).is_absolute() or ".." in parts:
                raise ValueError(f"{name!r}, which is not in the folder")


def read_case_list(text: str) -> list[str]:
    """Read the cases that the user chose: a text file with one a line, a JSON list, or ``splits.json:test``.

    Raises:
        SfgMedError: if the file or its key is missing, or the list is empty.
    """
    name, _, key = text.partition(".json:")
    path = Path(f"{name}.json" if key else text)
    if not key and path.suffix != ".json":
        if not path.is_file():
            raise SfgMedError(path, "a list of cases", "no such file", "give a text file or splits.json:test")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise SfgMedError(path, "a list of cases in UTF-8", str(error), "save it as UTF-8") from error
        cases = [line.strip() for line in lines if line.strip()]
    else:
        content = read_json(path, "a list of cases")
        if key and (not isinstance(content, dict) or key not in content):
            found = ", ".join(content) if isinstance(content, dict) else "no splits"
            raise SfgMedError(path, f"the split {key!r}", found, "name one of these")
        cases = content[key] if key else content
    if not isinstance(cases, list) or not cases:
        raise SfgMedError(text, "a list of case names", "none", "give splits.json:test, or one name a line")
    return [str(case) for case in cases]


def read_tissues(path: Path) -> dict[str, tuple[float, float]]:
    """Read the ranges of HU that tissues have: ``{"air": [null, -200], "soft_tissue": [-200, 150]}``; null is no limit.

    Raises:
        SfgMedError: for names that cannot be columns, ``bone``, which is fixed, or no ranges.
    """
    remedy = 'write {"name": [lowest, highest], ...}; bone (above 150 HU) is always there'
    content = read_json(path, "tissues and their ranges of HU")
    try:
        found = {}
        for name, (low, high) in content.items():
            limits = -math.inf if low is None else float(low), math.inf if high is None else float(high)
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == "bone" or not limits[0] < limits[1]:
                raise ValueError(f"{name}: {low} to {high}")
            found[name] = limits
    except (AttributeError, TypeError, ValueError) as error:
        raise SfgMedError(path, "names of tissues and ranges of HU", str(error), remedy) from error
    return found

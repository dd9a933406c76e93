# SPDX-License-Identifier: Apache-2.0
"""Splits that keep a patient together, and keep what was decided before."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sfg_med.data.atomic import write_json
from sfg_med.data.splits import PARTS, Splits, make_splits, read_splits
from sfg_med.errors import SfgMedError

# Of splits.json: patients none of whose cases is in the dataset now, and their parts.
ABSENT = "absent"


def split_by_patient(patients: Mapping[str, str], former: Mapping[str, str] | None = None, seed: int = 0) -> Splits:
    """Part the patients at random, and with them their cases.

    A patient who was in a part stays there: who was tested must not train later. New patients are parted among
    themselves.

    Args:
        patients: case to patient.
        former: patient to part, of an earlier call.
        seed: random seed.
    """
    part_of = dict(former or {})
    new = sorted(set(patients.values()) - set(part_of))
    part_of |= {patient: part for part, group in make_splits(new, seed).items() for patient in group}
    cases: dict[str, list[str]] = defaultdict(list)
    for case in sorted(patients):
        cases[part_of[patients[case]]].append(case)
    return {part: cases[part] for part in PARTS}


def former_parts(path: Path, patients: Mapping[str, str]) -> dict[str, str]:
    """Patient to part, as an earlier call or a person wrote it; empty without a file.

    Args:
        path: ``splits.json``.
        patients: case to patient; a case that is not named is a patient of its own.

    Raises:
        SfgMedError: if the file is damaged, or has a case in two parts.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        named = {str(case) for part in PARTS for case in data.get(part, [])}
        parts = {str(patient): str(part) for patient, part in data.get(ABSENT, {}).items()}
        of = {**data.get("patients", {}), **patients}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SfgMedError(
            path, f"JSON with the lists {', '.join(PARTS)}", repr(error), "correct or delete it"
        ) from error
    splits = read_splits(path, sorted(named)) if data.get(PARTS[0]) else data
    return parts | {of.get(case, case): part for part in PARTS for case in splits.get(part, [])}


def write_splits(path: Path, splits: Splits, patients: Mapping[str, str], former: Mapping[str, str]) -> None:
    """Write ``splits.json``; the parts of patients without a case now are kept for when they come back.

    Args:
        path: the file.
        splits: part to cases.
        patients: case to patient.
        former: patient to part, of an earlier call.
    """
    several = len(set(patients.values())) < len(patients)
    absent = {patient: part for patient, part in sorted(former.items()) if patient not in set(patients.values())}
    more = {"patients": patients} if several else {}
    write_json(path, {**splits, **more, **({ABSENT: absent} if absent else {})})

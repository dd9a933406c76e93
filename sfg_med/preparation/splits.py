# SPDX-License-Identifier: Apache-2.0
"""Splits that keep a patient together, and keep what was decided before."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sfg_med.data.splits import PARTS, Splits, make_splits, read_splits
from sfg_med.errors import SfgMedError


def split_by_patient(patients: Mapping[str, str], former: Splits | None = None, seed: int = 0) -> Splits:
    """Part the patients at random, and with them their cases.

    A case that was in a part stays there, and so do all cases of its patient: who was tested must not train later.
    New patients are parted among themselves.

    Args:
        patients: case to patient.
        former: parts of an earlier call; cases that are gone are left out.
        seed: random seed.
    """
    part_of = {patients[case]: part for part in PARTS for case in (former or {}).get(part, []) if case in patients}
    new = sorted({p for p in patients.values() if p not in part_of})
    part_of |= {patient: part for part, group in make_splits(new, seed).items() for patient in group}
    cases: dict[str, list[str]] = defaultdict(list)
    for case in sorted(patients):
        cases[part_of[patients[case]]].append(case)
    return {part: cases[part] for part in PARTS}


def former_splits(path: Path) -> Splits | None:
    """Parts of an earlier call, or what a person wrote; ``None`` without a file.

    Raises:
        SfgMedError: if the file is damaged, or has a case in two parts.
    """
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        named = {str(case) for part in PARTS for case in data.get(part, [])}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SfgMedError(
            path, f"JSON with the lists {', '.join(PARTS)}", repr(error), "correct or delete it"
        ) from error
    return read_splits(path, sorted(named)) if data.get(PARTS[0]) else data

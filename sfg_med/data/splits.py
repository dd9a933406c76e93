# SPDX-License-Identifier: Apache-2.0
"""Which cases train, validate and test: a fixed file, or cross-validation folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sfg_med.errors import SfgMedError

Splits = dict[str, list[str]]
PARTS = ("train", "validation", "test")


def read_splits(path: Path, cases: Sequence[str]) -> Splits:
    """Read ``splits.json``: ``{"train": [...], "validation": [...], "test": [...]}``.

    Args:
        path: the file.
        cases: names of the cases that exist.

    Raises:
        SfgMedError: for an unreadable file, an unknown case, or a case in two parts.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        splits = {part: [str(c) for c in data.get(part, [])] for part in PARTS}
    except (OSError, ValueError, AttributeError) as error:
        raise SfgMedError(path, f"JSON with the lists {', '.join(PARTS)}", str(error), "correct the file") from error
    named = [c for part in PARTS for c in splits[part]]
    unknown = sorted(set(named) - set(cases))
    if unknown:
        raise SfgMedError(path, "cases of the dataset", unknown[0], "remove it or add its folder")
    twice = sorted({c for c in named if named.count(c) > 1})
    if twice:
        raise SfgMedError(path, "every case in one part only", f"{twice[0]} in two", "remove it from one")
    if not splits["train"]:
        raise SfgMedError(path, "at least one training case", "none", "name some under 'train'")
    return splits


def make_splits(cases: Sequence[str], seed: int = 0, fractions: tuple[float, float] = (0.7, 0.15)) -> Splits:
    """Random parts of fixed sizes; at least one case in each part from three cases on.

    Args:
        cases: case names.
        seed: random seed.
        fractions: parts for training and validation; the rest is for testing.
    """
    order = [sorted(cases)[i] for i in np.random.default_rng(seed).permutation(len(cases))]
    spare = min(1, max(len(order) - 1, 0)), min(1, max(len(order) - 2, 0))
    validation = max(spare[0], round(fractions[1] * len(order)))
    test = max(spare[1], round((1 - sum(fractions)) * len(order)))
    parts = np.split(np.array(order, dtype=object), [len(order) - validation - test, len(order) - test])
    return {part: sorted(map(str, chunk)) for part, chunk in zip(PARTS, parts, strict=True)}


def fold_splits(
    cases: Sequence[str], folds: int, fold: int, seed: int = 0, patients: Mapping[str, str] | None = None
) -> Splits:
    """Cross-validation: fold ``fold`` tests, the next one validates (if there are three or more), the others train.

    With as many folds as patients this is leave-one-patient-out.

    Args:
        cases: case names.
        folds: number of folds.
        fold: the fold that tests.
        seed: random seed.
        patients: case to patient, whose cases stay together; a case that is not named is a patient of its own.

    Raises:
        SfgMedError: for fewer than two folds, more folds than patients, or a fold outside them.
    """
    of = {**dict(zip(cases, cases, strict=True)), **(patients or {})}
    known = sorted({of[case] for case in cases})
    if not 2 <= folds <= len(known) or not 0 <= fold < folds:
        expected = f"2 to {len(known)} folds and a fold from 0 to folds - 1"
        raise SfgMedError("fold", expected, f"fold {fold} of {folds}", "change folds or fold")
    order = [known[i] for i in np.random.default_rng(seed).permutation(len(known))]
    parts = [[case for case in cases if of[case] in order[i::folds]] for i in range(folds)]
    validating = (fold + 1) % folds if folds > 2 else fold
    train = [c for i, part in enumerate(parts) if i not in (fold, validating) for c in part]
    return {"train": sorted(train), "validation": sorted(parts[validating]), "test": sorted(parts[fold])}


def choose_splits(path: Path, cases: Sequence[str], *, folds: int = 0, fold: int = 0, seed: int = 0) -> Splits:
    """Folds if asked for, else the dataset's own file, else random parts.

    Args:
        path: the dataset's ``splits.json``; may be absent. Its ``patients`` (case to patient) keep cases together.
        cases: case names.
        folds: number of folds, 0 for none.
        fold: the fold that tests.
        seed: seed of folds and random parts.
    """
    if folds:
        return fold_splits(cases, folds, fold, seed, _patients(path))
    if path.is_file():
        return read_splits(path, cases)
    return make_splits(cases, seed)


def _patients(path: Path) -> dict[str, str]:
    """Case to patient, where a data set says it."""
    if not path.is_file():
        return {}
    try:
        return {str(case): str(patient) for case, patient in json.loads(path.read_text("utf-8"))["patients"].items()}
    except KeyError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SfgMedError(path, "JSON with parts and patients", str(error), "correct the file") from error

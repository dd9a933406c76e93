# SPDX-License-Identifier: Apache-2.0
"""Which cases train, validate and test: a fixed file, or cross-validation folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
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


def fold_splits(cases: Sequence[str], folds: int, fold: int, seed: int = 0) -> Splits:
    """Cross-validation: fold ``fold`` tests, the next one validates (if there are three or more), the others train.

    With as many folds as cases this is leave-one-patient-out.

    Raises:
        SfgMedError: for fewer than two folds, more folds than cases, or a fold outside them.
    """
    if not 2 <= folds <= len(cases) or not 0 <= fold < folds:
        expected = f"2 to {len(cases)} folds and a fold from 0 to folds - 1"
        raise SfgMedError("fold", expected, f"fold {fold} of {folds}", "change folds or fold")
    order = [sorted(cases)[i] for i in np.random.default_rng(seed).permutation(len(cases))]
    parts = [order[i::folds] for i in range(folds)]
    validating = (fold + 1) % folds if folds > 2 else fold
    train = [c for i, part in enumerate(parts) if i not in (fold, validating) for c in part]
    return {"train": sorted(train), "validation": sorted(parts[validating]), "test": sorted(parts[fold])}


def choose_splits(path: Path, cases: Sequence[str], *, folds: int = 0, fold: int = 0, seed: int = 0) -> Splits:
    """Folds if asked for, else the dataset's own file, else random parts.

    Args:
        path: the dataset's ``splits.json``; may be absent.
        cases: case names.
        folds: number of folds, 0 for none.
        fold: the fold that tests.
        seed: seed of folds and random parts.
    """
    if folds:
        return fold_splits(cases, folds, fold, seed)
    if path.is_file():
        return read_splits(path, cases)
    return make_splits(cases, seed)

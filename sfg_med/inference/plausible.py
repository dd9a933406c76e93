# SPDX-License-Identifier: Apache-2.0
"""Measures that an organ cannot have; the limits are data, in ``configs/plausible.yaml`` or the user's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sfg_med.config_dir import config_dir
from sfg_med.errors import SfgMedError
from sfg_med.inference.scope import INPUT, OFFSETS

FILE = "plausible.yaml"
_EXPECTED = "measure: organ: {range: [low, high], source: TEXT}"


@dataclass(frozen=True)
class Limit:
    """Range of one measure of one organ, ends included.

    Args:
        low: lowest plausible value, ``None`` for no limit.
        high: highest plausible value, ``None`` for no limit.
        source: where the numbers come from, for the reader of a report.
    """

    low: float | None
    high: float | None
    source: str

    def holds(self, value: float) -> bool:
        """Whether a value lies within."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


Limits = Mapping[str, Mapping[str, Limit]]
"""Measure without its organ (``volume_ml``) to organ to limit."""


def read_limits(path: Path | None = None) -> dict[str, dict[str, Limit]]:
    """Read the limits of a YAML or JSON file, the shipped ones by default.

    Raises:
        SfgMedError: if the file cannot be read, a range is upside down, or a source is missing.
    """
    path = path or config_dir() / FILE
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse_limits(data)
    except OSError as error:
        raise SfgMedError(path, "a file of limits", error.strerror or "unreadable", "check the path") from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SfgMedError(path, _EXPECTED, repr(error), f"write it as in configs/{FILE}") from error


def parse_limits(data: Mapping[str, Any]) -> dict[str, dict[str, Limit]]:
    """Limits from plain types, as in the file and in a manifest."""
    return {
        measure: {organ: _limit(f"{measure} of {organ}", entry) for organ, entry in organs.items()}
        for measure, organs in data.items()
    }


def limits_to_dict(limits: Limits) -> dict[str, Any]:
    """Plain types that :func:`parse_limits` reads."""
    return {
        measure: {organ: {"range": [limit.low, limit.high], "source": limit.source} for organ, limit in organs.items()}
        for measure, organs in limits.items()
    }


# Flags that are not called after their measure.
_FLAGS = {"volume_ml": "volume", "input": "unlike_training", **dict.fromkeys(OFFSETS, "position")}


def limit_flags(measures: Mapping[str, float], limits: Limits) -> list[str]:
    """Flags ``<measure>:<organ>`` of what lies outside its limits; ``volume:<organ>`` for ``volume_ml``,
    ``position:<organ>-<organ>`` for offsets, ``unlike_training:<measure>`` for the input's.

    An organ that was not found has a flag of its own and gets none here.
    """
    flags = []
    for measure, organs in limits.items():
        for organ, limit in organs.items():
            value = measures.get(f"{measure}_{organ}")
            missing = value is None or (measure == "volume_ml" and value == 0)
            if value is not None and not missing and not limit.holds(value):
                flags.append(f"{_FLAGS.get(measure, measure)}:{organ}")
    return list(dict.fromkeys(flags))


def judged(measures: Mapping[str, float], flags: Sequence[str], limits: Limits) -> list[str]:
    """Flags of a case by other limits than those it was measured with; flags that no limit makes stay."""
    return [flag for flag in flags if not _is_by_limit(flag, measures)] + limit_flags(measures, limits)


def is_measured(measures: Mapping[str, float], limits: Limits) -> bool:
    """Whether everything was measured that limits ask for: offsets and the input are only measured on demand."""
    pairs = [(measure, pair) for measure in OFFSETS for pair in limits.get(measure, ())]
    asked = {f"{m}_{pair}" for m, pair in pairs if all(measures.get(f"volume_ml_{o}") for o in pair.split("-"))}
    asked |= {f"{INPUT}_negative_percent"} if INPUT in limits else set()
    return asked <= measures.keys()


def _is_by_limit(flag: str, measures: Mapping[str, float]) -> bool:
    kind, _, subject = flag.partition(":")
    return kind in _FLAGS.values() or f"{kind}_{subject}" in measures


def _limit(name: str, entry: Mapping[str, Any]) -> Limit:
    low, high = (None if end is None else float(end) for end in entry["range"])
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name}: {low:g} is above {high:g}")
    if not str(entry.get("source") or "").strip():
        raise ValueError(f"{name}: a source is missing")
    return Limit(low, high, str(entry["source"]))

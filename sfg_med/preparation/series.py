# SPDX-License-Identifier: Apache-2.0
"""Which DICOM series of a case is its MR and which its CT; what is not used is said with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sfg_med.data.dicom import Series
from sfg_med.errors import SfgMedError

# Of several series of the modality the one is taken whose description has all of these, if it is the only one.
_WANTED = {"mr": (r"t2", r"tra|ax"), "ct": ()}
# Diffusion images and maps are coarse and distorted; a study may have nothing else that can be read.
_DIFFUSION = r"adc|dwi|diff|trace|b-?val"


@dataclass(frozen=True)
class SeriesNote:
    """What became of a series.

    Args:
        name: number and description.
        folder: where it is.
        role: what it is used as; empty if it is not.
        reason: why it is not used.
    """

    name: str
    folder: str
    role: str
    reason: str

    @property
    def line(self) -> str:
        """For messages."""
        return f"{self.name} ({self.reason or self.role})"


def choose_series(
    folder: Path, series: Sequence[Series], roles: Sequence[str]
) -> tuple[dict[str, Path], tuple[SeriesNote, ...], str]:
    """Choose a series for each role: the only usable one of the modality, or the only transverse T2 of several.

    What is refused, diffusion and what sfg_med made are not usable. Where the transverse T2 is refused, no other MR
    takes its place.

    Args:
        folder: the case's folder, for messages.
        series: all series of the case.
        roles: ``mr`` and ``ct``, as far as they are not there as volumes.

    Returns:
        Role to path, a note for each series, and a problem in one line (empty if there is none).
    """
    chosen: dict[str, Series] = {}
    problem = ""
    for role in roles:
        usable = [s for s in series if s.modality == role.upper() and not _refusal(s)]
        wanted = [s for s in usable if _is_wanted(s, role)]
        lost = [f"; {s.name} is refused ({s.reason})" for s in series if _is_wanted(s, role) and s.reason]
        pick = usable if len(usable) == 1 and not lost else wanted
        if len(pick) == 1:
            chosen[role] = pick[0]
        elif usable:
            found = f"{len(usable)} ({', '.join(s.name for s in usable)}){''.join(lost)}"
            remedy = "name the folder of the one that is wanted in a CSV (columns case,patient,mr,ct)"
            problem = str(SfgMedError(folder, f"one {role.upper()} series", found, remedy))
    notes = tuple(SeriesNote(s.name, str(s.folder), *_fate(s, chosen, roles)) for s in series)
    return {role: one.path for role, one in chosen.items()}, notes, problem


def _is_wanted(series: Series, role: str) -> bool:
    words = _WANTED[role] if series.modality == role.upper() and not series.is_ours else ()
    return bool(words) and all(re.search(word, series.description.lower()) for word in words)


def _refusal(series: Series) -> str:
    """Why a series is not taken unless a CSV names it; ``""`` if it may be."""
    if series.is_ours:
        return "made by sfg_med: a prediction is no input"
    if series.reason or series.modality != "MR":
        return series.reason
    marks = series.slices[0].marks
    words = f"{series.description} {marks.get('image types', '')}".lower()
    diffusion = re.search(_DIFFUSION, words) or marks.get("b-values", "0") != "0"
    return "diffusion, which is taken only where a CSV names it" if diffusion else ""


def _fate(series: Series, chosen: dict[str, Series], roles: Sequence[str]) -> tuple[str, str]:
    role = next((name for name, one in chosen.items() if one is series), "")
    if role:
        return role, ""
    if refusal := _refusal(series):
        return "", refusal
    if series.modality.lower() not in roles:
        return "", f"modality {series.modality or 'unknown'} is not wanted"
    return "", "another series of the modality is taken, or it is not clear which one is wanted"

# SPDX-License-Identifier: Apache-2.0
"""Which cases there are to prepare: a folder of cases, or a CSV with a row for each."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sfg_med.data.dicom import Series, find_series
from sfg_med.data.volumes import VOLUME_SUFFIXES, volume_stem, volume_suffix
from sfg_med.data.walk import exists, real, walk
from sfg_med.errors import SfgMedError
from sfg_med.preparation.series import SeriesNote, choose_series

ROLES = (MR, CT, SEG, MASK) = ("mr", "ct", "seg", "mask")


@dataclass(frozen=True)
class Source:
    """What one case is made from.

    Args:
        case: name, the folder in the dataset.
        patient: cases of one patient stay in one part of the splits.
        files: role (``mr``, ``ct``, ``seg``, ``mask``) to a volume, a DICOM file or a folder of one DICOM series.
        problem: why the case cannot be prepared, in one line; empty if it can be tried.
        series: DICOM series that were seen, and what became of them.
    """

    case: str
    patient: str
    files: dict[str, Path] = field(default_factory=dict)
    problem: str = ""
    series: tuple[SeriesNote, ...] = ()


def find_sources(source: Path, output: Path, require: Sequence[str]) -> list[Source]:
    """List the cases of a folder or of a CSV, by name.

    In a folder, a case is a folder that holds ``mr``, ``ct``, ... as volumes, or DICOM series, in itself or in folders
    one level below. Its name is its path with ``_`` between the parts; the first part is the patient.

    Args:
        source: folder or ``.csv``.
        output: the dataset; left out of the walk where it lies inside ``source``.
        require: roles without which a case is dropped.

    Raises:
        SfgMedError: if there are none.
    """
    if not exists(source):
        raise SfgMedError(source, "a folder of cases, or a CSV of them", "no such path", "check -i")
    if source.is_file() and source.suffix.lower() == ".csv":
        from sfg_med.preparation.table import read_table

        found = read_table(source)
    elif source.is_dir():
        found = _in_folder(source, output)
    else:
        raise SfgMedError(source, "a folder of cases, or a CSV of them", "a file of another kind", "check -i")
    if not found:
        wanted = f"cases such as case001/mr.nii.gz ({' '.join(VOLUME_SUFFIXES)}) or folders of DICOM series"
        raise SfgMedError(
            source, wanted, "none", "check -i, or list the files in a CSV with columns case,patient,mr,ct"
        )
    return sorted((_checked(s, require) for s in _unique(found)), key=lambda s: s.case)


def name_problem(name: str) -> bool:
    """Whether a case name cannot be a folder's name everywhere."""
    # letters may take several bytes, and most file systems have 255 for a name
    return not re.fullmatch(r"[\w+-][\w.+-]{0,120}", name) or len(os.fsencode(name)) > 200


def _in_folder(root: Path, output: Path) -> list[Source]:
    series = [s for s in find_series(root) if s.is_image and not _inside(s.folder, output)]
    by_case: dict[Path, list[Series]] = defaultdict(list)
    for one in series:
        deep = len(one.folder.relative_to(root).parts) > 1
        by_case[one.folder.parent if deep else one.folder].append(one)
    volumes = _volumes(root, output)
    return [_source(root, folder, volumes.get(folder, []), by_case[folder]) for folder in {*volumes, *by_case}]


def _volumes(root: Path, output: Path) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = defaultdict(list)
    for here, names in walk(root, leave_out=output):
        roles = [here / f for f in names if volume_suffix(Path(f)) and volume_stem(Path(f)).lower() in ROLES]
        if roles and (here == root or not _inside(here, output)):
            found[here] = roles
    return found


def _inside(folder: Path, output: Path) -> bool:
    return real(folder).is_relative_to(real(output))


def _source(root: Path, folder: Path, volumes: Sequence[Path], series: Sequence[Series]) -> Source:
    parts = folder.relative_to(root).parts or (real(root).name,)
    files: dict[str, Path] = {}
    problem = ""
    for path in volumes:
        role = volume_stem(path).lower()
        if role in files:
            problem = str(SfgMedError(path, f"one {role} file", f"also {files[role].name}", "keep one of them"))
        files[role] = path
    chosen, notes, trouble = choose_series(folder, series, [role for role in (MR, CT) if role not in files])
    return Source("_".join(parts), parts[0], {**files, **chosen}, problem or trouble, notes)


def _unique(sources: Sequence[Source]) -> list[Source]:
    """Sources of one name become one with a problem: neither may take the other's place."""
    groups: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        groups[source.case].append(source)
    result = []
    for name, group in groups.items():
        found = f"{len(group)} of them"
        problem = str(SfgMedError(f"case {name}", "one case of each name", found, "rename them"))
        result.append(group[0] if len(group) == 1 else replace(group[0], problem=problem))
    return result


def _checked(source: Source, require: Sequence[str]) -> Source:
    if source.problem:
        return source
    missing = [role for role in require if role not in source.files]
    if name_problem(source.case):
        expected = "letters, digits, . _ + - in a case's name"
        error = SfgMedError(f"case {source.case!r}", expected, repr(source.case), "rename it")
    elif missing:
        there = ", ".join(f"{role} ({source.files[role]})" for role in ROLES if role in source.files)
        unused = "; ".join(note.line for note in source.series if not note.role)
        found = f"{f'only {there}' if there else 'nothing to use'}{f'; not used: {unused}' if unused else ''}"
        enough = [role for role in require if role not in missing]
        remedy = f"add it, or say --require {','.join(enough)}" if MR in enough else "add it"
        error = SfgMedError(f"case {source.case}", f"{' and '.join(missing)}", found, remedy)
    else:
        return source
    return replace(source, problem=str(error))

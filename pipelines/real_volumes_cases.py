# SPDX-License-Identifier: Apache-2.0
"""Real volumes that no model was trained on: where they lie, what is known of them, and which may choose a model."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfg_med.data.atomic import atomic_path
from sfg_med.errors import SfgMedError

CHOOSE, REPORT = "choose", "report"
HALVES = (CHOOSE, REPORT)
BODY, BONE = 1, 2
HIPMRI_ORGANS = {"bladder": 3, "rectum": 4, "prostate": 5}
T2_SERIES = {  # those of dicom_mr that are whole; mask: silver standard, made by a network
    "prostate3t_0001": ("prostate3t_0001_t2_tra", "prostate3t_0001_prostate.nii.gz"),
    "prostate3t_0002": ("prostate3t_0002_t2_tra", ""),
    "prostatex0000": ("prostatex0000_t2_tra", ""),
}


@dataclass(frozen=True)
class RealCase:
    """One real MR.

    Args:
        collection: short name of its data set.
        name: name in it.
        image: volume, or folder of one DICOM series.
        reference: label map on the image's grid; ``None`` if nothing is known.
        organs: organ to its value in the reference.
        regions: whether the reference also has the body (1) and all bone (2), so that HU and heads can be judged.
        half: ``choose`` or ``report``; only the former may be looked at to choose a model.
        group: acquisition group, for tables.
        note: what a reader of the numbers must know.
    """

    collection: str
    name: str
    image: Path
    reference: Path | None = None
    organs: Mapping[str, int] = field(default_factory=dict)
    regions: bool = False
    half: str = REPORT
    group: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """Name among all real volumes, and start of the names of its results."""
        return f"{self.collection}/{self.name}"


def halves(groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Share names out between ``choose`` and ``report``, by nothing but the names themselves.

    Names are sorted by the SHA-256 of the name within each group and dealt in turn, on from group to group: each group
    is in both halves, and the halves are of one size or differ by one.
    """
    dealt = [name for group in sorted(groups) for name in sorted(groups[group], key=_hash)]
    return {name: HALVES[number % 2] for number, name in enumerate(dealt)}


def find_real_cases(data: Path, sets: Sequence[str], half: str = "all") -> list[RealCase]:
    """List the cases of some data sets.

    Args:
        data: folder of the data sets.
        sets: among ``SETS``.
        half: ``choose``, ``report`` or ``all``. Only promise12 has cases to choose by: all others are ``report``.

    Raises:
        SfgMedError: for an unknown set or half, a set that is not there, or no case at all.
    """
    if half not in (*HALVES, "all"):
        raise SfgMedError("--half", f"one of {', '.join(HALVES)}, all", repr(half), "choose one of them")
    cases: list[RealCase] = []
    for name in sets:
        if name not in SETS:
            raise SfgMedError("--sets", f"some of {', '.join(SETS)}", repr(name), "part them by commas")
        folder, list_cases = SETS[name]
        if not (data / folder).is_dir():
            raise SfgMedError(data / folder, f"the data set {name}", "no such folder", "check --data, or use --sets")
        cases += list_cases(data / folder)
    chosen = [case for case in cases if half in ("all", case.half)]
    if not chosen:
        raise SfgMedError("--sets", f"cases of half {half}", "none", "only promise12 has cases to choose by")
    return chosen


def image_file(case: RealCase, folder: Path) -> Path:
    """The image as a file that predict reads: a DICOM series is written as NIfTI into a folder, once.

    Raises:
        SfgMedError: if the series cannot be read.
    """
    if not case.image.is_dir():
        return case.image
    path = folder / f"{case.name}.nii.gz"
    if not path.is_file():
        _write_series(case.image, path)
    return path


def _write_series(source: Path, path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(source))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        found = f"{len(names)} files of one ({str(error).splitlines()[-1]})"
        raise SfgMedError(source, "a DICOM series", found, "copy it again") from error
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary))


def _hipmri(folder: Path) -> list[RealCase]:
    name = "case018_week7"
    return [
        RealCase(
            "hipmri",
            name,
            folder / f"{name}_mr.nii.gz",
            folder / f"{name}_seg.nii.gz",
            HIPMRI_ORGANS,
            regions=True,
        )
    ]


def _promise12(folder: Path) -> list[RealCase]:
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            group = {row["file"]: row["note"].split(" (")[0] for row in csv.DictReader(file)}
    except (OSError, KeyError) as error:
        raise SfgMedError(
            path, "the list of files and their acquisition groups", repr(error), "copy it again"
        ) from error
    group = {file.removesuffix("_t2.nii.gz"): g for file, g in group.items() if file.endswith("_t2.nii.gz")}
    members: dict[str, list[str]] = defaultdict(list)
    for name, found in group.items():
        members[found].append(name)
    half = halves(members)
    return [
        RealCase(
            "promise12",
            name,
            folder / f"{name}_t2.nii.gz",
            folder / f"{name}_prostate.nii.gz",
            {"prostate": 1},
            half=half[name],
            group=group[name],
            note="nominal voxel size: ml and mm are good to 10 to 20 % per axis",
        )
        for name in sorted(group)
    ]


def _prostatex(folder: Path) -> list[RealCase]:
    mask, silver = folder / "px0000_prostate.nii.gz", "reference made by a network (silver standard)"
    return [
        RealCase("prostatex", "px0000", folder / "px0000_t2.nii.gz", mask, {"prostate": 1}, note=silver),
        RealCase("prostatex", "px0218", folder / "px0218_t2.nii.gz", note="no reference"),
    ]


def _dicom(folder: Path) -> list[RealCase]:
    cases = []
    for name, (series, mask) in T2_SERIES.items():
        note = "reference made by a network (silver standard)" if mask else "no reference"
        if name == "prostatex0000":
            note += "; the same volume as prostatex/px0000"
        organs = {"prostate": 1} if mask else {}
        cases.append(RealCase("dicom", name, folder / series, folder / mask if mask else None, organs, note=note))
    return cases


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


SETS: dict[str, tuple[str, Callable[[Path], list[RealCase]]]] = {
    "hipmri": ("hipmri_pelvis", _hipmri),
    "promise12": ("promise12", _promise12),
    "prostatex": ("prostatex_mpmri", _prostatex),
    "dicom": ("dicom_mr", _dicom),
}

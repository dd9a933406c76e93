# SPDX-License-Identifier: Apache-2.0
"""A folder of simulated cases: resumable, atomic, the same whatever the number of cases or processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfg_med import __version__
from sfg_med.data.atomic import atomic_path, remove_leftovers, write_json
from sfg_med.data.simulation.case import (
    SimulatedCase,
    check_field_of_view,
    check_seed,
    check_spacing,
    check_variation,
    simulate_case,
)
from sfg_med.data.splits import make_splits
from sfg_med.errors import SfgMedError
from sfg_med.processes import worker_processes

FILES = ("mr", "ct", "seg", "mask", "tissue")
RECORD = "simulation.json"
SPLITS = "splits.json"
_SAME = ("version", "seed", "spacing_mm", "field_of_view", "variation", "rescanned")
Progress = Callable[[str, bool], None]
# What else happens to a case: gets it and its seed.
Rescan = Callable[[SimulatedCase, tuple[int, int]], SimulatedCase]


@dataclass(frozen=True)
class DatasetResult:
    """What :func:`simulate_dataset` did.

    Args:
        folder: the data set.
        written: names of the cases simulated now.
        skipped: names of the cases that were there already.
    """

    folder: Path
    written: tuple[str, ...]
    skipped: tuple[str, ...]


def simulate_dataset(
    out: str | Path,
    cases: int,
    seed: int,
    *,
    spacing_mm: Sequence[float] = (3.0, 3.0, 3.0),
    field_of_view: str = "standard",
    variation: float = 1.0,
    rescan: Rescan | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DatasetResult:
    """Write ``cases`` simulated men to ``out/case000/{mr,ct,seg,mask,tissue}.nii.gz``, with splits and provenance.

    Args:
        out: data set folder; made if absent.
        cases: number of cases. Case i depends on ``(seed, i)`` only.
        seed: a non-negative integer.
        spacing_mm: voxel size along x, y, z.
        field_of_view: ``"standard"`` or ``"whole"``.
        variation: how much men differ, 0 to 1.
        rescan: changes every case before it is written, such as
            :class:`sfg_med.transforms.randomise.Rescan`; its ``str`` is recorded.
        jobs: processes that simulate at the same time.
        overwrite: simulate finished cases again.
        progress: called with a case's name and whether it was simulated now (False: it was there).

    Raises:
        SfgMedError: for impossible arguments; if ``out`` holds another simulation and ``overwrite`` is off.
    """
    check_seed(seed)
    options = {
        "spacing_mm": check_spacing(spacing_mm),
        "field_of_view": check_field_of_view(field_of_view),
        "variation": check_variation(variation),
    }
    for name, value in (("cases", cases), ("jobs", jobs)):
        if value < 1:
            raise SfgMedError(name, "a number of at least 1", str(value), f"choose a larger --{name}")
    folder = _make_folder(Path(out))
    record = _open_record(folder, seed, {**options, "rescanned": str(rescan or "")}, overwrite)
    names = [f"case{i:03d}" for i in range(cases)]
    todo, skipped = {}, []
    for number, name in enumerate(names):
        if _is_finished(folder / name, record["cases"].get(name)) and not overwrite:
            skipped.append(name)
            if progress is not None:
                progress(name, False)
        else:
            todo[name] = (folder / name, (seed, number), options, rescan)
    for name, parameters in _simulate_all(todo, jobs):
        record["cases"][name] = parameters
        write_json(folder / RECORD, record)
        if progress is not None:
            progress(name, True)
    write_json(folder / SPLITS, make_splits(names, seed))
    return DatasetResult(folder, tuple(todo), tuple(skipped))


def _make_folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise SfgMedError(folder, "a folder to write to", "a file", "choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = error.strerror or "an error"
        raise SfgMedError(folder, "a folder that can be made", found, "choose another --out") from error
    if not os.access(folder, os.W_OK):
        raise SfgMedError(folder, "a folder to write to", "one without write permission", "choose another --out")
    return folder


def _open_record(folder: Path, seed: int, options: Mapping[str, Any], overwrite: bool) -> dict[str, Any]:
    """Read the provenance file, or start one; refuse to mix two simulations in one folder."""
    fresh: dict[str, Any] = {
        "kind": "SIMULATED",
        "note": "Simulated from formulas by sfg_med; no real patient is in here. Not for clinical use.",
        "version": __version__,
        "seed": int(seed),
        **options,
        "spacing_mm": list(options["spacing_mm"]),
        "cases": {},
    }
    path = folder / RECORD
    if overwrite or not path.exists():
        return fresh
    try:
        found = json.loads(path.read_text())
        same = all(found[key] == fresh[key] for key in _SAME) and isinstance(found["cases"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        same, found = False, {}
    if not same:
        asked, was = (", ".join(f"{key} {record.get(key)}" for key in _SAME) for record in (fresh, found))
        raise SfgMedError(path, asked, was, "use --overwrite or another --out")
    return dict(found)


def _is_finished(folder: Path, parameters: Any) -> bool:
    return bool(parameters) and all((folder / f"{name}.nii.gz").is_file() for name in FILES)


def _simulate_all(
    todo: Mapping[str, tuple[Path, tuple[int, int], Mapping[str, Any], Rescan | None]], jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    if jobs == 1 or len(todo) <= 1:
        for name, arguments in todo.items():
            yield name, _write_case(*arguments)
        return
    with worker_processes(min(jobs, len(todo))) as pool:
        running = {pool.submit(_write_case, *arguments): name for name, arguments in todo.items()}
        for future in as_completed(running):
            yield running[future], future.result()


def _write_case(
    folder: Path, seed: tuple[int, int], options: Mapping[str, Any], rescan: Rescan | None
) -> dict[str, Any]:
    import nibabel as nib

    case = simulate_case(seed, **options)
    if rescan is not None:
        case = rescan(case, seed)
    for name in FILES:
        image = nib.Nifti1Image(getattr(case, name), case.affine)
        image.set_sform(case.affine, code=1)
        image.set_qform(case.affine, code=1)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = f"SIMULATED sfg_med {__version__}".encode()
        final = folder / f"{name}.nii.gz"
        remove_leftovers(final)
        with atomic_path(final) as partial:
            nib.save(image, partial)
    return case.parameters

# SPDX-License-Identifier: Apache-2.0
"""Which images to predict, and what the results are called."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from sfg_med.data.dicom import Series, is_dicom, series_at
from sfg_med.data.volumes import VOLUME_SUFFIXES, volume_stem, volume_suffix
from sfg_med.data.walk import exists, real, walk
from sfg_med.errors import SfgMedError
from sfg_med.inference.dicom_inputs import matches, refusal, series_name, series_of_folder
from sfg_med.inference.input_list import LIST_SUFFIXES, read_list
from sfg_med.spec import ImageTask, ModelSpec

# Of an uncertainty: what the passes disagree about, and what each of them says itself.
PARTS = ("parameter", "intrinsic")


@dataclass(frozen=True)
class Job:
    """One image to predict.

    Args:
        case: name in ``manifest.json`` and ``cases.csv``.
        source: the image.
        stem: path of the results relative to the output folder, without ``_<task>.nii.gz``.
        error: why it cannot be predicted; empty if it can.
        series: the DICOM series, if it is one.
    """

    case: str
    source: Path
    stem: str
    error: str = ""
    series: Series | None = None


def output_files(spec: ModelSpec, stem: str, samples: int, *, entropy_parts: bool = False) -> dict[str, str]:
    """Output key (``ct``, ``seg``, ``ct_std``, ``seg_entropy``) to path relative to the output folder.

    Args:
        spec: the model; one that predicts variances has both parts of ``ct_std`` as well.
        stem: see :class:`Job`.
        samples: passes.
        entropy_parts: whether both parts of ``seg_entropy`` are wanted.
    """
    keys = [task.name for task in spec.volume_tasks]
    if samples > 1:
        keys += [f"{t.name}_{'std' if isinstance(t, ImageTask) else 'entropy'}" for t in spec.volume_tasks]
        split = [f"{t.name}_std" for t in spec.image_tasks if spec.network.get("variance")]
        split += [f"{t.name}_entropy" for t in spec.label_tasks if entropy_parts]
        keys += [f"{key}_{part}" for key in split for part in PARTS]
    return {key: f"{stem}_{key}.nii.gz" for key in keys}


def all_output_files(spec: ModelSpec, stem: str) -> dict[str, str]:
    """As :func:`output_files`, of everything that a run may write with whatever options."""
    maps = [f"{t.name}_{'std' if isinstance(t, ImageTask) else 'entropy'}" for t in spec.volume_tasks]
    keys = [*(task.name for task in spec.volume_tasks), *maps, *(f"{name}_{part}" for name in maps for part in PARTS)]
    return {key: f"{stem}_{key}.nii.gz" for key in keys}


def find_jobs(source: Path, output: Path, spec: ModelSpec, *, series: str = "", dicom: bool = False) -> list[Job]:
    """List what a run works on, in the order of the case names.

    Args:
        source: an image, a DICOM series, a folder (walked through all levels) or a CSV list of images.
        output: the output folder; left out of the walk where it lies inside ``source``.
        spec: the model; the name of its input marks dataset folders, those of its outputs are no inputs.
        series: of DICOM, only series whose description matches (see :func:`sfg_med.inference.dicom_inputs.matches`).
        dicom: results are wanted as DICOM, too: an input that is none becomes a job with an error.

    Raises:
        SfgMedError: if there is nothing to predict.
    """
    if not exists(source):
        raise SfgMedError(source, "an image, a folder or a CSV list", "no such path", "check -i")
    jobs = _jobs(source, output, spec)
    if series:
        jobs = _matching(jobs, series, source)
    if not jobs:
        expected = f"images ({', '.join(VOLUME_SUFFIXES)}) or DICOM series"
        raise SfgMedError(source, expected, "none", "check -i")
    if dicom:
        jobs = [_dicom_only(job) for job in jobs]
    return sorted(_with_unique_names(_without_collisions(jobs, spec)), key=lambda job: job.case)


def _jobs(source: Path, output: Path, spec: ModelSpec) -> list[Job]:
    if source.is_dir():
        return [
            job for folder, names in walk(source, leave_out=output) for job in _jobs_in(source, folder, names, spec)
        ]
    if source.suffix.lower() in LIST_SUFFIXES:
        return [_listed(name, file, error) for name, file, error in read_list(source)]
    if volume_suffix(source):
        return [Job(volume_stem(source), source, volume_stem(source))]
    if is_dicom(source):
        series = series_at(source)
        return [_series_job(series_name(series), series)]
    found = f"a file named {source.suffix or 'without suffix'}"
    remedy = f"give one of {', '.join((*VOLUME_SUFFIXES, *LIST_SUFFIXES))}, or DICOM"
    raise SfgMedError(source, "an image, a folder or a CSV list", found, remedy)


def _jobs_in(root: Path, folder: Path, names: list[str], spec: ModelSpec) -> list[Job]:
    jobs = [_job_in(root, file, spec) for file in _images(folder, names, spec)]
    return jobs + [_series_job(stem, series) for stem, series in series_of_folder(root, folder)]


def _series_job(stem: str, series: Series) -> Job:
    return Job(stem, series.path, stem, refusal(series), series)


def _listed(name: str, file: Path, error: str) -> Job:
    """A row of a list; whether it is DICOM is seen here, since its series decides what is written."""
    if error or not exists(file) or not (file.is_dir() or (not volume_suffix(file) and is_dicom(file))):
        return Job(name, file, name, error)
    try:
        return _series_job(name, series_at(file))
    except SfgMedError as found:
        return Job(name, file, name, str(found))


def _matching(jobs: list[Job], pattern: str, source: Path) -> list[Job]:
    kept = [job for job in jobs if job.series is None or matches(job.series, pattern)]
    if jobs and not kept:
        names = ", ".join(dict.fromkeys(job.series.name for job in jobs if job.series))
        raise SfgMedError(source, f"a DICOM series like {pattern!r}", names[:300], "change --series")
    return kept


def _dicom_only(job: Job) -> Job:
    if job.series or job.error:
        return job
    remedy = "predict it without --dicom"
    return replace(job, error=str(SfgMedError(job.source, "a DICOM series for --dicom", "another format", remedy)))


def _job_in(root: Path, file: Path, spec: ModelSpec) -> Job:
    folder = file.parent.relative_to(root)
    stem = (folder / volume_stem(file)).as_posix()
    case = stem
    if volume_stem(file) == spec.input_name:  # dataset layout: the folder is the case
        case = folder.as_posix() if folder.parts else real(root).name
    return Job(case, file, stem)


def _images(folder: Path, names: list[str], spec: ModelSpec) -> list[Path]:
    files = [folder / n for n in names if volume_suffix(Path(n))]
    stems = {volume_stem(file) for file in files}
    references = {"mask", *(task.name for task in spec.tasks)}
    if spec.input_name in stems and stems & references:
        return [file for file in files if volume_stem(file) == spec.input_name]
    endings = tuple(f"_{key}" for key in all_output_files(spec, ""))
    return [file for file in files if not volume_stem(file).endswith(endings)]


def _without_collisions(jobs: list[Job], spec: ModelSpec) -> list[Job]:
    """Inputs that would write the same file become one job with an error that names them all."""
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in dict.fromkeys(jobs):
        groups[job.stem].append(job)
    return [group[0] if len(group) == 1 else _collision(group, spec) for group in groups.values()]


def _with_unique_names(jobs: list[Job]) -> list[Job]:
    """``p1/mr.nii.gz`` and ``p1.nii.gz`` would both be case ``p1``; stems are never the same."""
    count = Counter(job.case for job in jobs)
    return [job if count[job.case] == 1 else replace(job, case=job.stem) for job in jobs]


def _collision(group: list[Job], spec: ModelSpec) -> Job:
    names = " and ".join(str(job.source) for job in group)
    written = output_files(spec, group[0].stem, 1)[spec.tasks[0].name]
    error = SfgMedError(
        names, "one input for each output", f"{len(group)} that would write {written}", "rename one of them"
    )
    return replace(group[0], error=str(error))

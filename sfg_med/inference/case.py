# SPDX-License-Identifier: Apache-2.0
"""One case of a run: its files and its record in the manifest."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfg_med.data.atomic import remove_leftovers
from sfg_med.data.dicom import read_series
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.data.dicom_out.results import (
    dicom_files,
    has_results,
    is_deidentified,
    remove_results,
    results_folder,
    write_results,
)
from sfg_med.data.volumes import Volume, read_volume, write_volume
from sfg_med.data.walk import exists
from sfg_med.errors import SfgMedError
from sfg_med.inference.inputs import Job, all_output_files, output_files
from sfg_med.inference.manifest import Record, now
from sfg_med.inference.measures import measure
from sfg_med.inference.passes import Passes
from sfg_med.inference.plausible import Limits, is_measured
from sfg_med.inference.prediction import Prediction
from sfg_med.inference.predictor import Predictor, Prepared
from sfg_med.spec import ImageTask

logger = logging.getLogger(__name__)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def new_record(job: Job, predictor: Predictor) -> Record:
    """Record of a case that has not been predicted."""
    return {
        "case": job.case,
        "status": "failed",
        "skipped": False,
        "error": job.error,
        "input": str(job.source.absolute()),
        "seconds": None,
        "finished": now(),
        "files": {},
        "model_sha256": predictor.model.sha256,
        "samples": predictor.samples,
        "seed": predictor.seed,
        "measures": {},
        "flags": [],
    }


class CaseWork:
    """A case on its way through a run, in three steps that may be done in different threads, one after the other.

    Whatever goes wrong ends in the record's ``error``, in one line, and the steps that follow do nothing. The record's
    ``seconds`` are those of the three steps, without the waiting between them.

    Args:
        predictor: the loaded model.
        job: the case.
        output: the output folder.
        dicom: write DICOM as well, with or without identity; None for NIfTI only.
        limits: of plausible measures, for the flags.
        former: the case's record of an earlier call, whose results go.
    """

    def __init__(
        self,
        predictor: Predictor,
        job: Job,
        output: Path,
        dicom: Identity | None = None,
        limits: Limits | None = None,
        former: Record | None = None,
    ) -> None:
        self.predictor, self.job, self.output = predictor, job, output
        self.dicom, self.limits, self.former = dicom, limits, former
        self.record = new_record(job, predictor)
        self._seconds = 0.0
        self._volume: Volume | None = None
        self._prepared: Prepared | None = None
        self._passes: Passes | None = None

    def read(self) -> CaseWork:
        """Read the image and bring it to the network's grid."""
        if self.job.error:
            return self
        with self._step():
            self._volume = _read(self.job, self.predictor)
            self._prepared = self.predictor.prepare(self._volume)
        return self

    def compute(self) -> CaseWork:
        """Run the network."""
        with self._step():
            if self._prepared is not None:
                self._passes = self.predictor.run(self._prepared, case=self.job.case)
        return self

    def write(self) -> Record:
        """Bring the results to the grid of the input, write and measure them.

        Returns:
            The case's record.
        """
        with self._step():
            if self._passes is not None and self._prepared is not None and self._volume is not None:
                prediction = self.predictor.finish(self._passes, self._prepared)
                self._passes = self._prepared = None
                self._write(prediction, self._volume)
                self.record["status"] = "done"
        self._volume = self._prepared = self._passes = None
        self.record["seconds"] = round(self._seconds, 3)
        self.record["finished"] = now()
        return self.record

    @contextmanager
    def _step(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except Exception as error:  # one broken case never stops the others
            logger.debug("case %s", self.job.case, exc_info=True)
            self._volume = self._prepared = self._passes = None
            self.record["error"] = str(error if isinstance(error, SfgMedError) else _explain(self.job, error))
        self._seconds += time.perf_counter() - start

    def _write(self, prediction: Prediction, volume: Volume) -> None:
        files = _files(self.predictor, self.job)
        folder = results_folder(self.output, self.job.stem)
        self._remove_former(folder)
        written = {}
        for key, array in _arrays(self.predictor, prediction).items():
            written[key] = array
            write_volume(self.output / files[key], array, volume, array.dtype, f"sfg_med {key}, not for clinical use")
        self.record["measures"], self.record["flags"] = measure(self.predictor.spec, written, volume, self.limits)
        if self.dicom and self.job.series:
            spec, model = self.predictor.spec, self.predictor.model.sha256
            write_results(folder, self.job.series, spec, written, self.dicom, model)
            files |= dicom_files(spec, self.job.stem)
        self.record["files"] = files

    def _remove_former(self, folder: Path) -> None:
        """A case is either all of one run or unfinished: what another model or other options wrote goes, too."""
        start = f"{self.job.stem}_"
        named = (self.former or {}).get("files", {}).values()
        own = {f for f in named if f.startswith(start) and f.endswith(".nii.gz") and "/" not in f.removeprefix(start)}
        own.add(f"{self.job.case}_viewer.html")  # holds the former volumes
        for file in own | set(all_output_files(self.predictor.spec, self.job.stem).values()):
            remove_leftovers(self.output / file)
            if os.path.lexists(self.output / file):  # unlink raises for a name that is too long to be there
                (self.output / file).unlink(missing_ok=True)
        remove_leftovers(folder)
        if self.dicom or has_results(folder):
            remove_results(folder)


def finished_record(
    predictor: Predictor,
    job: Job,
    output: Path,
    former: Record | None,
    dicom: Identity | None = None,
    limits: Limits | None = None,
) -> Record | None:
    """Record of a case whose files are all there already, or None if it has to be predicted.

    Files have their final names only when they are whole, so that their existence is enough. If the manifest
    was lost, or the limits ask for more than it has, the case is measured again from the files.
    """
    files = _files(predictor, job)
    more = dicom_files(predictor.spec, job.stem) if dicom else {}
    if job.error or not all(exists(output / file) for file in (files | more).values()):
        return None
    if dicom and is_deidentified(results_folder(output, job.stem)) != dicom.remove:
        return None
    if former is not None and not (former["status"] == "done" and (files | more).keys() <= former["files"].keys()):
        return None  # files that it does not list are of another run
    record = former or {**new_record(job, predictor), "status": "done", "files": files | more}
    if former is None or not is_measured(former["measures"], limits or {}):
        try:
            volumes = {key: file for key, file in record["files"].items() if file.endswith(".nii.gz")}
            written = {key: read_volume(output / file, blank_ok=True).array for key, file in volumes.items()}
            measures, flags = measure(predictor.spec, written, _read(job, predictor), limits)
        except SfgMedError:
            return None
        record = {**record, "measures": measures, "flags": flags}
    return {**record, "skipped": True}


def _read(job: Job, predictor: Predictor) -> Volume:
    role = predictor.spec.input_name.upper()
    return read_series(job.series, role=role) if job.series else read_volume(job.source, role=role)


def _files(predictor: Predictor, job: Job) -> dict[str, str]:
    return output_files(predictor.spec, job.stem, predictor.samples, entropy_parts=predictor.entropy_parts)


def _arrays(predictor: Predictor, prediction: Prediction) -> dict[str, NDArray[Any]]:
    """Output key to array as it is written; the float32 images are let go one by one."""
    arrays: dict[str, NDArray[Any]] = {}
    for task in predictor.spec.volume_tasks:
        if isinstance(task, ImageTask):
            arrays[task.name] = _rounded(prediction.images.pop(task.name), task)
        else:
            arrays[task.name] = prediction.labels[task.name]
    arrays.update({f"{name}_std": array for name, array in prediction.std.items()})
    arrays.update({f"{name}_entropy": array for name, array in prediction.entropy.items()})
    return arrays | prediction.parts


def _rounded(values: NDArray[Any], task: ImageTask) -> NDArray[Any]:
    dtype = np.dtype(task.dtype)
    if dtype.kind not in "iu":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    np.rint(values, out=values)
    return np.clip(values, limits.min, limits.max, out=values).astype(dtype)


def _explain(job: Job, error: Exception) -> SfgMedError:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(s in text.lower() for s in _OUT_OF_MEMORY):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        remedy = "use a smaller --sw-batch-size, --device cpu, or a machine with more memory"
        return SfgMedError(job.source, "enough memory", "not enough", remedy)
    if isinstance(error, OSError) and error.strerror:
        remedy = "check its name, and the disk of -o"
        return SfgMedError(job.source, "to read it and write its results", error.strerror.lower(), remedy)
    found = f"{type(error).__name__}: {text}"
    return SfgMedError(job.source, "to predict it", found, "check the image; if it is fine, report this line")

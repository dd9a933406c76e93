# SPDX-License-Identifier: Apache-2.0
"""Predict one case of a run: its files and its record in the manifest."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfg_med.data.atomic import remove_leftovers
from sfg_med.data.volumes import read_volume, write_volume
from sfg_med.errors import SfgMedError
from sfg_med.inference.inputs import Job, output_files
from sfg_med.inference.manifest import Record, now
from sfg_med.inference.measures import measure
from sfg_med.inference.prediction import Prediction
from sfg_med.inference.predictor import Predictor
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


def predict_case(predictor: Predictor, job: Job, output: Path) -> Record:
    """Read, predict, write and measure; whatever goes wrong ends in the record's ``error``, in one line.

    Args:
        predictor: the loaded model.
        job: the case.
        output: the output folder.
    """
    record = new_record(job, predictor)
    start = time.perf_counter()
    if not job.error:
        try:
            _predict(predictor, job, output, record)
            record["status"] = "done"
        except SfgMedError as error:
            record["error"] = str(error)
        except Exception as error:  # one broken case never stops the others
            logger.debug("case %s", job.case, exc_info=True)
            record["error"] = str(_explain(job, error))
    record["seconds"] = round(time.perf_counter() - start, 3)
    record["finished"] = now()
    return record


def finished_record(predictor: Predictor, job: Job, output: Path, former: Record | None) -> Record | None:
    """Record of a case whose files are all there already, or None if it has to be predicted.

    Files have their final names only when they are whole, so that their existence is enough. If the manifest
    was lost the record is measured again from the files.
    """
    files = _files(predictor, job)
    if job.error or not all((output / file).is_file() for file in files.values()):
        return None
    if former is not None:
        return {**former, "skipped": True} if former["status"] == "done" else None
    record = new_record(job, predictor)
    try:
        written = {key: read_volume(output / file, blank_ok=True).array for key, file in files.items()}
        record["measures"], record["flags"] = measure(predictor.spec, written, read_volume(job.source))
    except SfgMedError:
        return None
    return {**record, "status": "done", "skipped": True, "files": files}


def _predict(predictor: Predictor, job: Job, output: Path, record: Record) -> None:
    volume = read_volume(job.source, role=predictor.spec.input_name.upper())
    prediction = predictor.predict(volume, case=job.case)
    files = _files(predictor, job)
    for file in files.values():  # a case is either all of one run or unfinished
        remove_leftovers(output / file)
        (output / file).unlink(missing_ok=True)
    written = {}
    for key, array in _arrays(predictor, prediction).items():
        written[key] = array
        write_volume(output / files[key], array, volume, array.dtype, f"sfg_med {key}, not for clinical use")
    record["measures"], record["flags"] = measure(predictor.spec, written, volume)
    record["files"] = files


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
    found = f"{type(error).__name__}: {text}"
    return SfgMedError(job.source, "to predict it", found, "check the image; if it is fine, report this line")

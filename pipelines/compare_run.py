# SPDX-License-Identifier: Apache-2.0
"""One run of the comparison: train a strategy, predict the test cases, score them, count what it costs."""

from __future__ import annotations

import csv
import gc
import json
import logging
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from pipelines.runs import Run
from pipelines.stopwatch import Stopwatch, read_seconds
from sfg_med.data.atomic import atomic_path, write_json
from sfg_med.data.cases import Dataset, find_cases
from sfg_med.errors import SfgMedError
from sfg_med.inference.inputs import Job
from sfg_med.inference.posterior import has_posterior
from sfg_med.inference.predictor import Predictor
from sfg_med.inference.run import run_cases
from sfg_med.metrics import case_dice_mean, columns
from sfg_med.model_file import LoadedModel, load_model
from sfg_med.networks.cost import network_cost
from sfg_med.report.case_files import open_predictions, read_json
from sfg_med.report.evaluation import plan
from sfg_med.report.evaluation_run import score_cases, write_results
from sfg_med.report.run_page import write_run_page
from sfg_med.training.runner import train, training_workflow, user_mistake
from sfg_med.training.strategies import named_strategies, strategy_config

logger = logging.getLogger(__name__)
DICE_MEAN = "dice_mean"


@dataclass(frozen=True)
class Trial:
    """How every run of a comparison is made; calling it does one (see :class:`pipelines.runs.Loop`).

    Args:
        out: the comparison's folder.
        config_files: configs, later ones laid over earlier ones.
        overrides: config keys that all runs have in common.
        samples: passes that a stochastic strategy predicts with.
        keep_predictions: whether predicted volumes stay after they were scored.
    """

    out: Path
    config_files: Sequence[Path]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 1
    keep_predictions: bool = False

    def __call__(self, run: Run, folder: Path) -> dict[str, Any]:
        """Do a run; what was done before in its folder is not done again.

        Returns:
            The content of ``result.json``.
        """
        gc.collect()  # networks, optimisers and caches of the run before refer to each other in rings
        try:
            return self._do(run, folder)
        except Exception as error:
            mistake = user_mistake(error)
            if mistake is None or mistake is error:
                raise
            raise mistake from error

    def _do(self, run: Run, folder: Path) -> dict[str, Any]:
        settings = self._settings(run)
        values = {**self.overrides, **settings, "seed": run.seed, "fold": run.fold, "run_dir": str(folder)}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
            workflow = training_workflow(self.config_files, values)
            train(workflow, [Stopwatch(folder)])
        _write_page(folder)
        model = load_model(folder / "models" / "model.safetensors")
        samples = self.samples if named_strategies()[run.strategy].stochastic and has_posterior(model.network) else 1
        rows = self.score(workflow, model, folder, samples=samples, seed=run.seed)
        write_cases(folder / "cases.csv", rows)
        channels = int(model.spec.network.get("in_channels", 1))
        parameters, gflops = network_cost(model.network, (1, channels, *model.spec.patch_size))
        return {
            "steps": workflow.parser.get_parsed_content("steps"),
            "metrics": {name: mean for name, mean in mean_row(rows).items() if self.is_metric(name)},
            "parameters": parameters,
            "gflops": gflops,
            "seconds": round(read_seconds(folder), 2),
            "samples": samples,
            "trivial": trivial_scores(folder),
            "settings": json.loads(json.dumps(settings, default=str)),
            "threads": torch.get_num_threads(),
        }

    def score(
        self, workflow: ConfigWorkflow, model: LoadedModel, folder: Path, *, samples: int, seed: int
    ) -> dict[str, dict[str, float]]:
        """Score the test cases, see :func:`predict_and_score`; data of another kind override this."""
        rows = predict_and_score(workflow, model, folder, samples=samples, seed=seed)
        if not self.keep_predictions:
            shutil.rmtree(folder / "predictions")
        return rows

    def is_metric(self, column: str) -> bool:
        """Whether a column of ``cases.csv`` is a metric."""
        return True

    def _settings(self, run: Run) -> dict[str, Any]:
        """Config keys that make the strategy, after what it searches for in the run that it needs."""
        needed = named_strategies()[run.strategy].needs
        source = run._replace(strategy=needed).folder(self.out) if needed else None
        values = {**self.overrides, "seed": run.seed, "fold": run.fold}
        return strategy_config(run.strategy, source, self.config_files, values)


def predict_and_score(
    workflow: ConfigWorkflow, model: LoadedModel, folder: Path, *, samples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Predict and score the test cases of a run, as ``sfg-med predict`` and ``sfg-med evaluate`` do.

    Args:
        workflow: of the finished training.
        model: what it trained.
        folder: the run's folder; gets ``predictions/`` and ``evaluation/``.
        samples: passes of a prediction.
        seed: of the passes.

    Returns:
        Case to metric to value: the contract's columns of ``evaluate``, and the mean Dice of each case.

    Raises:
        SfgMedError: if there is no test case, or one cannot be predicted or scored.
    """
    options = {name: workflow.parser.get_parsed_content(name) for name in ("precision", "overlap", "sw_batch_size")}
    options |= {"device": str(workflow.parser.get_parsed_content("device")), "samples": samples, "seed": seed}
    described = workflow.parser.get_parsed_content("datasets")[0]
    dataset = Dataset.of(described)
    chosen = set(read_json(folder / "splits.json", "the splits of a run")["test"])
    cases = [case for case in find_cases(dataset, model.spec) if case.name in chosen]
    if not cases:
        raise SfgMedError(dataset.path, "test cases in splits.json", "none", "name some, or use --folds")
    jobs = [Job(case.name, case.files[model.spec.input_name], case.name) for case in cases]
    predicted = run_cases(Predictor(model, **options), jobs, folder / "predictions", options=options, overwrite=True)
    if predicted.interrupted:
        raise KeyboardInterrupt
    if predicted.failures:
        first = predicted.failures[0]
        raise SfgMedError(first["case"], "a prediction", first["error"], "correct the case, then run again")
    reference = folder / "evaluation" / "dataset.json"
    write_json(reference, {**described, "path": str(dataset.path.resolve())})
    predictions = open_predictions(folder / "predictions")
    todo, references, left_out = plan(predictions, reference, [case.name for case in cases])
    scores = list(score_cases(todo))
    write_results(reference.parent, predictions, references, todo, scores, left_out)
    failed = next((score for score in scores if score.error), None)
    if failed is not None:
        raise SfgMedError(failed.case, "a score", failed.error, "correct the case, then run again")
    # The contract's columns only: each further one would be one more test for the same cases.
    names = [column.name for column in columns(todo[0].spec)]
    return {s.case: {**{name: s.row[name] for name in names}, DICE_MEAN: case_dice_mean(s.row)} for s in scores}


def _write_page(folder: Path) -> None:
    """The run's own page is an extra: without it the run is still good."""
    try:
        write_run_page(folder)
    except Exception as error:
        logger.warning("%s: no report.html: %s", folder, " ".join(repr(error).split())[:300])


def trivial_scores(folder: Path) -> dict[str, float]:
    """Error of the trivial model on the test cases, by metric, from what evaluate wrote; nothing without that."""
    path = folder / "evaluation" / "summary.json"
    found = read_json(path, "the summary of evaluate")["trivial_model"] if path.is_file() else {}
    return {name: scores["mean"] for name, scores in found.items() if scores["mean"] is not None}


def write_cases(path: Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write ``cases.csv``: a row for each test case; empty where a metric is not defined."""
    names = list(next(iter(rows.values())))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", *names])
        table.writerows(
            [case, *("" if math.isnan(v) else f"{v:.8g}" for v in row.values())] for case, row in rows.items()
        )


def mean_row(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    """Mean of each metric over the cases that have it; ``None`` where no case has."""
    means: dict[str, float | None] = {}
    for name in next(iter(rows.values())):
        known = [row[name] for row in rows.values() if math.isfinite(row[name])]
        means[name] = math.fsum(known) / len(known) if known else None
    return means


def quiet_libraries() -> None:
    """Keep the libraries' own lines away: errors are raised as well, and a run has one line."""
    logging.disable(logging.INFO)  # MONAI's handlers set the levels of their loggers themselves
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)

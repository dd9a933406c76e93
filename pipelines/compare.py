# SPDX-License-Identifier: Apache-2.0
"""What should these tasks share? ``python -m pipelines.compare --dataset-dir DIR --out DIR --strategies a,b``.

Trains every strategy under the same conditions (configs/train.yaml, configs/compare.yaml, overlays and KEY=VALUE),
predicts and scores the test cases, and writes ``OUT/results.csv`` and ``OUT/index.html``. Each run has a folder
``OUT/runs/STRATEGY/seedS-foldF``; finished runs are skipped, stopped ones go on, so the same call may be repeated.
With ``--num-parts N --part-id I`` each process of a job array takes a part; ``--collect-only`` then writes the page.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.command import run_command
from pipelines.runs import CONDITIONS, RUNS, Loop, Run, check_conditions, plan_runs
from sfg_med.errors import SfgMedError

# Keys that differ from run to run or change no result.
_NO_CONDITION = {"bundle_root", "run_dir", "ckpt_dir", "resume", "seed", "fold", "strategy", "device", "rank"}
_NO_CONDITION |= {"checkpoint_interval", "mlflow", "world_size"}
_NO_CONDITION |= {"num_workers", "cache_rate", "log_interval", "trajectory_interval", "initialize", "run", "finalize"}
_DEFAULT = "single-task,hard-sharing,constant-mask,constant-p,cross-stitch,branched,selective-sharing,sfg"


def main(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the comparison.")] = None,
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset-dir", help="One folder per case, as for train.")
    ] = None,
    strategies: Annotated[str, typer.Option(help="Names, separated by commas; see --list.")] = _DEFAULT,
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas.")] = "0,1,2",
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of a run. Default: the config's.")] = None,
    folds: Annotated[int, typer.Option(min=0, help="Cross-validation with this many folds; 0: splits.json.")] = 0,
    fold_ids: Annotated[str, typer.Option(help="Only these folds, from 0. Default: all.")] = "",
    samples: Annotated[int, typer.Option(min=1, help="Passes that stochastic strategies predict with.")] = 10,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    config: Annotated[list[Path] | None, typer.Option(help="A further config laid over; may be repeated.")] = None,
    num_parts: Annotated[int, typer.Option(min=1, help="Share the runs among this many processes.")] = 1,
    part_id: Annotated[int, typer.Option(min=0, help="Which part this process takes, from 0.")] = 0,
    note: Annotated[list[str] | None, typer.Option(help="A sentence for the page, such as what the data are.")] = None,
    keep_predictions: Annotated[bool, typer.Option("--keep-predictions", help="Keep the predicted volumes.")] = False,
    collect_only: Annotated[bool, typer.Option("--collect-only", help="Train nothing; write table and page.")] = False,
    list_strategies: Annotated[bool, typer.Option("--list", help="Print the strategies' names and stop.")] = False,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config.")] = None,
) -> None:
    """Train every sharing strategy on the same data under the same conditions and compare them.

    Exit codes: 0 all runs done, 1 some run failed (the others are done), 2 nothing run.
    """
    from sfg_med.training.strategies import named_strategies

    known = named_strategies()
    if list_strategies:
        typer.echo("\n".join(known))
        return
    if out is None:
        raise SfgMedError("--out", "a folder for the comparison", "none", "give one")
    names = choose(strategies.split(","), list(known))
    wanted = plan_runs(names, whole_numbers(seeds, "--seeds"), _fold_ids(folds, fold_ids))
    if collect_only:
        typer.echo(f"page: {write_page(out, wanted, note or [])}")
        return
    if dataset_dir is None:
        raise SfgMedError("--dataset-dir", "a dataset folder", "none", "give one")
    if part_id >= num_parts:
        raise SfgMedError("--part-id", f"a number below --num-parts {num_parts}", str(part_id), "correct it")
    if threads:
        import torch

        torch.set_num_threads(threads)
    from pipelines.compare_run import Trial, quiet_libraries

    files, values = _configuration(dataset_dir, steps, folds, config or [], overrides or [])
    check_conditions(out, {**conditions(files, values), "samples": samples})
    quiet_libraries()
    trial = Trial(out, files, values, samples=samples, keep_predictions=keep_predictions)
    loop = Loop(out, trial, needs=lambda name: known[name].needs, show=("mae_hu", "dice_mean"))
    code = loop(wanted, (part_id, num_parts))
    if code == 0 or any((out / RUNS).glob("*/*/result.json")):
        typer.echo(f"page: {write_page(out, wanted, note or [])}")
    raise typer.Exit(code)


def choose(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The named strategies, each once.

    Raises:
        SfgMedError: for a name that is not known, with the nearest one.
    """
    chosen = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in chosen:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SfgMedError("--strategies", "names that --list prints", name, f"did you mean {nearest}?")
    if not chosen:
        raise SfgMedError("--strategies", "at least one name", "none", "give names that --list prints")
    return chosen


def conditions(config_files: Sequence[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level values of the config that all runs of a comparison have in common.

    Args:
        config_files: configs, later ones laid over earlier ones.
        overrides: config key (``a::b`` for nested ones) to value.

    Returns:
        Plain values only; what the config computes from them is left out.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in config_files]))
    parser.update(dict(overrides))
    config = parser.get()
    return {key: value for key, value in config.items() if key not in _NO_CONDITION and _is_plain(value)}


def write_page(out: Path, planned: Sequence[Run], notes: Sequence[str]) -> Path:
    """Write ``results.csv`` and ``index.html`` from the runs that are finished."""
    from sfg_med.metrics import columns
    from sfg_med.report.case_files import read_json
    from sfg_med.report.comparison_page import Options, write_comparison
    from sfg_med.spec import ModelSpec
    from sfg_med.training.strategies import named_strategies

    specs = sorted((out / RUNS).glob("*/*/spec.json"))
    spec = ModelSpec.from_dict(read_json(specs[0], "a model specification")) if specs else ModelSpec()
    images = [column.name for column in columns(spec) if column.metric == "mae"]
    gained = [*images, *(["dice_mean"] if spec.label_tasks else [])]
    bone = [column.name for column in columns(spec) if column.metric == "mae_bone"]
    said = list(notes)
    if _is_simulated(out):
        said.append("The data are simulated.")
    question = f"What should the tasks {' and '.join(spec.channels)} share?"
    if set(spec.channels) == {"ct", "seg"}:
        question = "What should synthetic CT and organ segmentation share?"
    options = Options(
        question,
        [*gained, *bone],
        gain_metrics=gained,
        titles={"mae_hu": "CT MAE (HU)", "mae_bone_hu": "CT MAE in bone (HU)"},
        notes=said,
        summaries={name: strategy.summary for name, strategy in named_strategies().items()},
    )
    return write_comparison(out, options, planned)


def _configuration(
    dataset_dir: Path, steps: int | None, folds: int, overlays: Sequence[Path], words: Sequence[str]
) -> tuple[list[Path], dict[str, Any]]:
    """Config files and overrides of all runs, checked before anything starts."""
    from monai.bundle import ConfigParser

    from sfg_med.config_dir import config_dir
    from sfg_med.data.cases import Dataset
    from sfg_med.training.runner import check_keys, parse_overrides

    Dataset.of(dataset_dir)
    files = [config_dir() / "train.yaml", config_dir() / "compare.yaml", *overlays]
    absent = next((path for path in files if not path.is_file()), None)
    if absent is not None:
        raise SfgMedError(absent, "a config file", "nothing there", "correct --config")
    values = {"dataset_dir": str(dataset_dir.resolve()), "folds": folds, **parse_overrides(words)}
    if steps is not None:
        values["steps"] = steps
    reserved = sorted({"strategy", "seed", "fold", "run_dir"} & {key.split("::")[0] for key in values})
    if reserved:
        raise SfgMedError(reserved[0], "a key that all runs share", "one that each run sets", "leave it out")
    check_keys(values, ConfigParser.load_config_files([str(path) for path in files]))
    return files, values


def _is_simulated(out: Path) -> bool:
    """Whether the dataset of a comparison says that it was simulated."""
    path = out / CONDITIONS
    shared = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return (Path(shared.get("dataset_dir", "")) / "simulation.json").is_file()


def whole_numbers(text: str, option: str, *, repeated: bool = False) -> list[int]:
    """Whole numbers separated by commas, each once unless they may be repeated.

    Raises:
        SfgMedError: for anything else.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = next((word for word in words if not re.fullmatch(r"\d+", word)), None)
    if wrong is not None or not words:
        raise SfgMedError(option, "whole numbers separated by commas", repr(wrong or text), "write it as in 0,1,2")
    numbers = [int(word) for word in words]
    return numbers if repeated else list(dict.fromkeys(numbers))


def _fold_ids(folds: int, text: str) -> list[int]:
    chosen = whole_numbers(text, "--fold-ids") if text else list(range(max(folds, 1)))
    if max(chosen) >= max(folds, 1):
        raise SfgMedError("--fold-ids", f"folds below --folds {folds}", str(max(chosen)), "correct one of them")
    return chosen


def _is_plain(value: Any) -> bool:
    """Whether a config value is data: no expression, reference or object to build."""
    if isinstance(value, Mapping):
        return not any(str(key).startswith("_") for key in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not (isinstance(value, str) and value.startswith(("$", "@", "%")))


if __name__ == "__main__":
    run_command(main)

# SPDX-License-Identifier: Apache-2.0
"""What was learned, drawn as the paper draws it: ``python -m pipelines.learned --run RUN --out DIR [--case CASE]``.

``DIR/learned.html`` shows the groups by depth, p in the simplex, its way there, and for a case the activation maps of
certain and of undecided kernels. ``--study initialisation`` trains from four starts of p, ``--study duplicates`` on the
same task twice; each run has a folder, finished ones are skipped and stopped ones go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.command import run_command
from sfg_med.errors import SfgMedError


def main(
    out: Annotated[Path, typer.Option("--out", help="Folder of the page, and of a study's runs.")],
    run: Annotated[Path | None, typer.Option(help="Folder of a training run.")] = None,
    case: Annotated[Path | None, typer.Option(help="Case folder or image, for activation maps.")] = None,
    study: Annotated[str | None, typer.Option(help="initialisation or duplicates.")] = None,
    dataset_dir: Annotated[Path | None, typer.Option("--dataset-dir", help="Of a study: as for train.")] = None,
    seeds: Annotated[str, typer.Option(help="Of a study: whole numbers, separated by commas.")] = "0",
    steps: Annotated[int | None, typer.Option(min=1, help="Of a study: training steps. Default: the config's.")] = None,
    config: Annotated[list[Path] | None, typer.Option(help="Of a study: a config laid over train.yaml.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Of a study.")] = None,
) -> None:
    """Draw what a run learned, or train and draw one of the paper's two studies of p."""
    if (run is None) == (study is None):
        raise SfgMedError("pipelines.learned", "either --run or --study", "both or neither", "give one of them")
    if threads:
        import torch

        torch.set_num_threads(threads)
    if run is not None:
        typer.echo(write_run(run, case, out))
        return
    if dataset_dir is None:
        raise SfgMedError("--dataset-dir", "a dataset folder", "none", "give one")
    values: dict[str, Any] = {"dataset_dir": str(dataset_dir.resolve())}
    if steps is not None:
        values["steps"] = steps
    from pipelines.compare import whole_numbers

    numbers = whole_numbers(seeds, "--seeds")
    raise typer.Exit(run_study(str(study), out, numbers, values, config or [], overrides or []))


def write_run(run: Path, case: Path | None, out: Path) -> Path:
    """Write ``OUT/learned.html`` of a training run.

    Args:
        run: its folder.
        case: case folder or image for activation maps, or None.
        out: where the page goes.
    """
    from pipelines.learned_maps import model_of, stored_p
    from sfg_med.model_file import load_model
    from sfg_med.report.sharing_files import TRAJECTORIES, read_trajectories
    from sfg_med.report.sharing_learned import PAGE, LearnedPage, Section, write_learned_page
    from sfg_med.report.sharing_page import probability_chart, sharing_charts

    if not run.is_dir():
        raise SfgMedError(run, "the folder of a training run", "no such folder", "check --run")
    drawn = sharing_charts(run)
    model = load_model(model_of(run)) if case or not drawn or not (run / TRAJECTORIES).is_file() else None
    p: Mapping[str, Any] = {}
    if (run / TRAJECTORIES).is_file():
        record = read_trajectories(run / TRAJECTORIES)
        p = dict(zip(record.keys, record.learned_p(), strict=True))
    elif model is not None:
        p = stored_p(model.network)
        if p:
            names, values = _in_forward_order(p)
            drawn.append(probability_chart(names, values, model.network.groups.names, "the end, from the model file"))
    if not p and (case or not drawn):
        raise SfgMedError(run, "a run that learned groups", "none", "see which strategies learn groups")
    shown = _activations(model, case, out, p) if case and model else None
    facts = [("Run", str(run.resolve())), *([("Case", str(case))] if case else [])]
    page = LearnedPage(f"What the tasks share: {run.resolve().name}", facts, [Section("Groups", drawn)], shown)
    return write_learned_page(out / PAGE, page)


def _activations(model: Any, case: Path, out: Path, p: Mapping[str, Any]) -> Any:
    from pipelines.learned_maps import activations
    from sfg_med.data.volumes import read_volume
    from sfg_med.inference.inputs import find_jobs

    jobs = find_jobs(case, out, model.spec)
    if len(jobs) != 1 or jobs[0].error:
        found = jobs[0].error or f"{len(jobs)} images"
        raise SfgMedError(case, "one case", found, "give a case folder or an image file")
    return activations(model, read_volume(jobs[0].source, role=model.spec.input_name.upper()), p, jobs[0].case)


def _in_forward_order(p: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    from sfg_med.report.run_files import forward_order, layer_name

    keys = list(p)
    ordered = [keys[i] for i in forward_order(keys)]
    return [layer_name(key) for key in ordered], [p[key] for key in ordered]


def run_study(
    study: str,
    out: Path,
    seeds: Sequence[int],
    values: Mapping[str, Any],
    overlays: Sequence[Path],
    words: Sequence[str],
) -> int:
    """Train what is missing of a study and write its page.

    Args:
        study: its name.
        out: its folder.
        seeds: of the runs.
        values: overrides of the config.
        overlays: configs laid over train.yaml.
        words: further overrides, ``KEY=VALUE``.

    Returns:
        Exit code: 1 if some run failed, else 0.
    """
    from monai.bundle import ConfigParser

    from pipelines.compare import conditions
    from pipelines.learned_studies import read_outcomes, variants
    from pipelines.learned_study_page import write_study
    from pipelines.runs import Loop, Run, check_conditions, plan_runs
    from sfg_med.config_dir import config_dir
    from sfg_med.training.runner import check_keys, parse_overrides, train, training_workflow

    files = [config_dir() / "train.yaml", *overlays]
    absent = next((path for path in files if not path.is_file()), None)
    if absent is not None:
        raise SfgMedError(absent, "a config file", "nothing there", "correct --config")
    common = {**values, **parse_overrides(words)}
    parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in files]))
    check_keys(common, parser.get())
    parser.update(common)
    changes = variants(study, parser.get())
    check_conditions(out, {"study": study, **conditions(files, common)})
    _quiet()

    def work(run: Run, folder: Path) -> dict[str, Any]:
        own = {"seed": run.seed, "run_dir": str(folder), **changes[run.strategy]}
        train(training_workflow(files, {**common, **own}))
        numbers = read_outcomes(out, [run])[0].numbers()
        return {"metrics": {key: value for key, value in numbers.items() if isinstance(value, float)}}

    runs = plan_runs(list(changes), seeds)
    code = Loop(out, work, show=("shared_likeliest", "entropy"))(runs)
    outcomes = read_outcomes(out, runs)
    if outcomes:
        typer.echo(write_study(out, study, outcomes, runs))
    return code


def _quiet() -> None:
    import logging
    import warnings

    warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)


if __name__ == "__main__":
    run_command(main)

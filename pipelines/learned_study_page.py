# SPDX-License-Identifier: Apache-2.0
"""Page and numbers of a study of p."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.learned_studies import DUPLICATES, PLACES, Outcome, distances, places
from pipelines.runs import Run
from sfg_med.data.atomic import write_json
from sfg_med.report.html import Chart, chart
from sfg_med.report.sharing_learned import PAGE, LearnedPage, Section, write_learned_page
from sfg_med.report.sharing_page import trajectory_charts
from sfg_med.report.sharing_shares import share_columns, share_panels

NUMBERS = "learned.json"
_TITLES = {
    "initialisation": "Does the start of p decide what is shared?",
    "duplicates": "What is shared when both tasks are the same?",
}
_COLUMNS = {
    "shared_start": "shared p, start",
    "shared_mean_p": "shared p, learned",
    "shared_likeliest": "shared kernels",
    "entropy_start": "entropy, start",
    "entropy": "entropy, learned",
    "moved": "p moved",
    "changed_group": "changed group",
}


def write_study(out: Path, study: str, outcomes: Sequence[Outcome], planned: Sequence[Run]) -> Path:
    """Write ``OUT/learned.json`` and ``OUT/learned.html``.

    Args:
        out: the study's folder.
        study: its name.
        outcomes: runs that left a record.
        planned: all runs of the study.
    """
    apart = distances(outcomes)
    write_json(
        out / NUMBERS,
        {
            "study": study,
            "groups": {o.run.strategy: list(o.record.groups) for o in outcomes},
            "runs": {f"{o.run.strategy}/seed{o.run.seed}": o.numbers() for o in outcomes},
            "distances": apart,
        },
    )
    sections = [_overview(outcomes), *[_variant(name, _of(outcomes, name)) for name in _names(outcomes)]]
    if study == DUPLICATES:
        sections.insert(1, _places(outcomes))
    else:
        sections.insert(1, _distances(apart))
    done = f"{len(outcomes)} of {len(planned)}, each in OUT/runs/VARIANT/seedS-fold0"
    facts = [("Runs", done), ("Groups learned", _schedule(outcomes)), ("Tasks", _groups(outcomes))]
    return write_learned_page(out / PAGE, LearnedPage(_TITLES[study], facts, sections))


def _schedule(outcomes: Sequence[Outcome]) -> str:
    """Until when groups were learned, of how many steps."""
    steps = sorted({(int(o.record.steps[o.record.learned]), int(o.record.steps[-1])) for o in outcomes})
    return "; ".join(f"until step {learned} of {last}" for learned, last in steps)


def _groups(outcomes: Sequence[Outcome]) -> str:
    kinds = {o.run.strategy: ", ".join(g for g in o.record.groups if "+" not in g) for o in outcomes}
    return (
        next(iter(kinds.values()))
        if len(set(kinds.values())) == 1
        else "; ".join(f"{k}: {v}" for k, v in kinds.items())
    )


def _names(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(o.run.strategy for o in outcomes))


def _of(outcomes: Sequence[Outcome], name: str) -> list[Outcome]:
    return [o for o in outcomes if o.run.strategy == name]


def _overview(outcomes: Sequence[Outcome]) -> Section:
    table = [["variant", "seeds", *_COLUMNS.values()]]
    for name in _names(outcomes):
        numbers = [o.numbers() for o in _of(outcomes, name)]
        table.append([name, str(len(numbers)), *(_spread([float(n[key]) for n in numbers]) for key in _COLUMNS)])
    lines = [
        "Mean over the seeds, in brackets the lowest and the highest. p is that of the last record in which groups "
        "were learned. Shared p: mean probability of the group of all tasks; shared kernels: part of them with this "
        "group as the likeliest. Entropy: mean over the kernels in nats. Moved: mean distance of a kernel's p from its "
        "start, 0 to 1 (total variation); changed group: part of the kernels whose likeliest group changed."
    ]
    return Section("Overview", [_comparison(outcomes)], lines, table)


def _comparison(outcomes: Sequence[Outcome]) -> Chart:
    """Groups by depth of all variants that have the layers and the kind of groups of the first."""
    first = outcomes[0].record
    panels = {
        name: np.mean([o.decided for o in _of(outcomes, name)], axis=0)
        for name in _names(outcomes)
        if _of(outcomes, name)[0].record.names == first.names
        and len(_of(outcomes, name)[0].record.groups) == len(first.groups)
    }
    groups = list(first.groups)
    if any(o.record.groups != first.groups for o in outcomes):
        groups = ["task 1", "task 1+2", "task 2"] if len(groups) == 3 else groups
    text = "Kernels by their likeliest group when groups were last learned, mean of the seeds."
    return chart("Groups by depth", share_panels(panels, first.names, groups), text)


def _spread(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return f"{np.mean(values):.2f}" + (f" ({low} to {high})" if low != high else "")


def _distances(apart: dict[str, dict[str, float | None]]) -> Section:
    table = [["", *apart]]
    for name, row in apart.items():
        table.append([name, *("–" if value is None else f"{value:.2f}" for value in row.values())])
    lines = [
        "Part of the kernels that would have to change groups to make the shares by layer equal. On the diagonal: "
        "between the seeds of one start, which is what chance does (it needs two seeds). A start matters where it is "
        "further from the others than that."
    ]
    return Section("How far the groupings are apart", lines=lines, table=table)


def _places(outcomes: Sequence[Outcome]) -> Section:
    """For the duplicated tasks: where in the simplex the kernels of each layer end."""
    same = [o for o in outcomes if o.run.strategy == "duplicate" and len(o.record.groups) == 3]
    if not same:
        return Section("Where p goes", lines=["No finished run yet."])
    table = [["layer", *(f"p {group}" for group in same[0].record.groups), *PLACES]]
    for index, name in enumerate(same[0].record.names):
        mean = np.mean([o.learned[index] for o in same], axis=0)
        found = [places(o.record.learned_p()[index]) for o in same]
        parts = [f"{np.mean([f[place] for f in found]):.0%}" for place in PLACES]
        table.append([name, *(f"{value:.2f}" for value in mean), *parts])
    kinds = "; ".join(f"{name}: {meaning}" for name, (_, meaning) in PLACES.items())
    lines = [
        f"Mean p of each layer, and the part of its kernels that lies nearest to each of these places ({kinds}). "
        "Which of the two copies is the likelier one is chance."
    ]
    return Section("Where p goes when both tasks are the same", lines=lines, table=table)


def _variant(name: str, runs: Sequence[Outcome]) -> Section:
    first = runs[0]
    record = first.record
    shares = np.mean([o.decided for o in runs], axis=0)
    overall = first.kernels @ shares
    text = f"Kernels by their likeliest group when groups were last learned, mean of {len(runs)} seeds."
    found: list[Chart] = [chart("Groups by depth", share_columns(record.names, shares, overall, record.groups), text)]
    return Section(name, [*found, *trajectory_charts(record)], [f"Probabilities and entropy: seed {first.run.seed}."])

# SPDX-License-Identifier: Apache-2.0
"""What the tasks of a run came to share: its charts with their captions, for any page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfg_med.report import charts
from sfg_med.report.case_files import read_json
from sfg_med.report.html import Chart, chart
from sfg_med.report.run_files import GROUPS, Shares, read_shares
from sfg_med.report.sharing_files import TRAJECTORIES, Floats, Trajectories, entropy, read_trajectories
from sfg_med.report.sharing_maps import entropy_map, kernel_maps
from sfg_med.report.sharing_shares import share_columns
from sfg_med.report.sharing_simplex import CELLS, simplex_densities, simplex_trajectories
from sfg_med.report.sharing_unet import u_figure

LONG = 12
"""Layers from which the charts with a picture a layer are folded."""

CLOSE = 0.1
_MARGIN = "At %s the likeliest group led the next by less than 0.1 in %s of the kernels"


def sharing_charts(run_dir: Path) -> list[Chart]:
    """Charts of a run from ``groups.json`` and ``trajectories.npz``; none of a network that learns no groups."""
    found: list[Chart] = []
    if (run_dir / GROUPS).is_file():
        shares = read_shares(run_dir / GROUPS)
        if shares.steps and shares.layers:
            found += _share_charts(shares, _spec(run_dir))
    if (run_dir / TRAJECTORIES).is_file():
        found += trajectory_charts(read_trajectories(run_dir / TRAJECTORIES))
    return found


def trajectory_charts(record: Trajectories) -> list[Chart]:
    """Charts of what every kernel did over a run."""
    when = f"step {record.steps[record.learned]}"
    found = [probability_chart(record.names, record.learned_p(), record.groups, when)]
    if len(record.steps) < 2:
        return found
    end = f" The groups were fixed after {when}, where the record shown ends." if record.frozen else ""
    if len(record.groups) == 3 and record.learned:
        text = f"A line is the way of a kernel's p from the start (dark) to its last record (dot).{end}"
        svg, folded = simplex_trajectories(record), len(record.keys) >= LONG
        found.append(chart("How the kernels found their groups", svg, text, folded=folded))
    most = np.log(len(record.groups))
    text = f"Bright: undecided between the groups (at most {most:.2f} nats). Dark: certain of a group, or fixed to it."
    if record.frozen:
        text += " Dotted: the groups were fixed."
    found.append(chart("Entropy of the groups over training", entropy_map(record), text))
    return found


def probability_chart(names: Sequence[str], p: Sequence[Floats], groups: Sequence[str], when: str) -> Chart:
    """Where the kernels of each layer lie: in the simplex of three groups, else as maps of kernels by groups."""
    words = f"{certainty(p)} {undecided(p, when)}".strip()
    folded = len(names) >= LONG
    if len(groups) == 3:
        text = (
            "Each corner is a group: kernels in a corner are certain of it, those in the middle undecided; in brackets "
            f"the number of kernels. {CELLS} cells along an axis, Gaussian smoothing of one cell, colours by the root. "
        )
        return chart(f"Probabilities at {when}", simplex_densities(names, p, groups), text + words, folded=folded)
    text = "A row is a kernel, a column a group; rows sorted by likeliest group, the most certain first. "
    return chart(f"Probabilities at {when}", kernel_maps(names, p, groups), text + words, folded=folded)


def certainty(p: Sequence[Floats]) -> str:
    """How certain the kernels are, in words."""
    values = np.concatenate([entropy(v[v.sum(axis=1) > 0]) for v in p])
    most = np.log(p[0].shape[1])
    return f"Mean entropy {values.mean():.2f} nats of at most {most:.2f}." if len(values) and most else ""


def undecided(p: Sequence[Floats], when: str) -> str:
    """How many kernels have no clear likeliest group, in words."""
    if p[0].shape[1] < 2:
        return ""
    ranked = np.concatenate([np.sort(v, axis=1)[v.sum(axis=1) > 0] for v in p])
    if not len(ranked):
        return ""
    close = float((ranked[:, -1] - ranked[:, -2] < CLOSE).mean())
    return _MARGIN % (when, f"{close:.0%}") + ("." if close < 0.005 else "; for those the choice says little.")


def _share_charts(shares: Shares, spec: Mapping[str, Any]) -> list[Chart]:
    last, overall = shares.values[-1], shares.overall[-1]
    joined = ", ".join(f"{name} {share:.0%}" for name, share in zip(shares.groups, overall, strict=True))
    text = (
        f"Of all kernels: {joined}. Layers in the order in which an image passes them, the first at the left; "
        "r is a 1 x 1 convolution that reduces the channels. A group is named by the tasks that train its kernels."
    )
    columns = share_columns(shares.layers, last, overall, shares.groups)
    found = [chart(f"Groups of each layer at step {shares.steps[-1]}", columns, text)]
    tasks = [str(task["name"]) for task in spec.get("tasks", ()) if "name" in task]
    drawn = u_figure(
        shares.layers,
        last,
        shares.kernels,
        shares.groups,
        levels=level_sizes(spec),
        outputs={task: task for task in tasks},
        source=str(spec.get("input_name", "image")).upper(),
    )
    if drawn:
        text = (
            "Each convolution is a box, split into its groups with the shares in %; dashed: skip connections. What "
            "comes out of a task's head is computed from its own group and from the groups that it belongs to."
        )
        found.append(chart("The same, along encoder and decoder", drawn, text))
    if len(shares.steps) > 1:
        text = "One map for each group: bright where all kernels of a layer belong to it."
        svg = charts.share_maps(shares)
        found.append(chart("Shares over training, layer by layer", svg, text, folded=True))
        found.append(chart("Shares over training, all kernels", charts.share_curves(shares), folded=True))
    return found


def level_sizes(spec: Mapping[str, Any]) -> list[str]:
    """Voxel size of each resolution level of a U-Net, such as ``"3 mm"`` or ``"3 x 3 x 6 mm"``."""
    network = spec.get("network", {})
    depth = len(network.get("channels", ()))
    if not depth or not spec.get("spacing_mm"):
        return []
    size = np.asarray(spec["spacing_mm"], dtype=float)[: int(network.get("spatial_dims", 3))]
    found = []
    for stride in (1, *(network.get("strides") or [2] * (depth - 1))):
        size = size * np.asarray(stride)
        parts = [f"{s:g}" for s in (size[:1] if np.ptp(size) == 0 else size)]
        found.append(" x ".join(parts) + " mm")
    return found


def _spec(run_dir: Path) -> Mapping[str, Any]:
    path = run_dir / "spec.json"
    return dict(read_json(path, "JSON of a run")) if path.is_file() else {}

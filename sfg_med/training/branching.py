# SPDX-License-Identifier: Apache-2.0
"""Where a branched network branches: searched from trained single-task networks (Vandenhende et al., BMVC 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.networks.layers.factories import Pool
from torch import Tensor

from sfg_med.data.atomic import write_json
from sfg_med.model_file import load_model
from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.sharing.affinity import affinities
from sfg_med.sharing.branching import search, tree_cost, tree_parameters
from sfg_med.sharing.compact import CompactConv
from sfg_med.training.runner import training_workflow

IMAGES = 50
# Features are pooled to at most this many cells along each axis before images are compared (a choice; the paper's
# images are single pictures of 2D networks, where a whole map is compared).
CELLS = 12
# More tasks than this are searched with a beam (a choice).
EXHAUSTIVE, BEAM = 6, 100


def search_tree(
    source: Path, config_files: Sequence[Path], values: Mapping[str, Any], *, budget: float, images: int = IMAGES
) -> list[list[list[str]]]:
    """The cheapest tree, by dissimilarity of its tasks, that fits the budget.

    Args:
        source: finished run of the single-task networks, all in one model; gets ``branching.json``.
        config_files: its configs.
        values: its overrides; the images are the first training samples of its seed.
        budget: parameters as a multiple of those of hard sharing.
        images: number of training samples K that are compared.

    Returns:
        For each stage, clusters of task names.
    """
    model = load_model(source / "models" / "model.safetensors")
    network = model.network
    workflow = training_workflow(config_files, {**values, "run_dir": str(source)})
    workflow.initialize()
    samples = workflow.parser.get_parsed_content("train#dataset")
    batch = (_item(samples[i])[model.spec.input_name] for i in range(min(images, len(samples))))
    affinity = affinities(stage_features(network, batch))
    shared = build_network(replace(model.spec, network={**model.spec.network, "strategy": "hard-sharing"}))
    sizes = stage_parameters(shared)
    allowed = int(budget * sum(sizes))
    tree = search(affinity, sizes, allowed, None if len(network.tasks) <= EXHAUSTIVE else BEAM)
    names = list(network.tasks)
    found = [[[names[t] for t in cluster] for cluster in partition] for partition in tree]
    about = {
        "tasks": names,
        "stages": list(network.stage_modules),
        "affinity": affinity.tolist(),
        "stage_parameters": sizes,
        "budget": allowed,
        "tree": found,
        "cost": tree_cost(tree, affinity),
        "parameters": tree_parameters(tree, sizes),
        "images": images,
    }
    write_json(source / "branching.json", about)
    return found


@torch.no_grad()
def stage_features(network: MultiTaskNetwork, images: Iterator[Tensor]) -> list[list[Tensor]]:
    """Features of single-task networks.

    Args:
        network: compact network whose tasks share nothing.
        images: input images ``(C, *spatial)``.

    Returns:
        For each stage, for each task, ``(K, features)``.
    """
    owners = []
    for names in network.stage_layers.values():
        layer = network.get_submodule(names[-1])
        assert isinstance(layer, CompactConv)
        owners.append(layer.assignment)
    groups = [network.groups.singleton(task) for task in network.tasks]
    rows: list[list[list[Tensor]]] = [[[] for _ in groups] for _ in owners]
    for image in images:
        for stage, (_, last) in enumerate(network.stages(torch.as_tensor(image)[None])):
            maps = _pooled(last.maps[0])
            for task, group in enumerate(groups):
                rows[stage][task].append(maps[0, owners[stage] == group].flatten())
    return [[torch.stack(task) for task in stage] for stage in rows]


def stage_parameters(network: MultiTaskNetwork) -> list[int]:
    """Parameters of each stage."""
    return [
        sum(p.numel() for module in modules for p in network.get_submodule(module).parameters())
        for modules in network.stage_modules.values()
    ]


def _pooled(maps: Tensor) -> Tensor:
    size = [min(CELLS, s) for s in maps.shape[2:]]
    pooled: Tensor = Pool[Pool.ADAPTIVEAVG, len(size)](size)(maps)
    return pooled


def _item(sample: Any) -> Mapping[str, Any]:
    """MONAI's multi-sample crops return a list."""
    item: Mapping[str, Any] = sample[0] if isinstance(sample, list) else sample
    return item

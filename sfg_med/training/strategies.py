# SPDX-License-Identifier: Apache-2.0
"""Strategies by name: what each adds to the training config, and what it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sfg_med.config_dir import config_dir
from sfg_med.errors import SfgMedError


@dataclass(frozen=True)
class NamedStrategy:
    """A row of ``configs/strategies.yaml``.

    Args:
        summary: what the tasks share.
        config: keys laid over the training config.
        needs: strategy whose finished run (same seed and fold) this one starts from.
        stochastic: predicts with several passes.
    """

    summary: str
    config: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None
    stochastic: bool = False


def named_strategies() -> dict[str, NamedStrategy]:
    """Name to strategy, in the order of the file."""
    rows = yaml.safe_load((config_dir() / "strategies.yaml").read_text(encoding="utf-8"))
    return {name: NamedStrategy(**row) for name, row in rows.items()}


def strategy_config(
    name: str, source: Path | None, config_files: Sequence[Path], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Keys that make a training run one of this strategy, searched for where the strategy searches.

    Args:
        name: name of the strategy.
        source: finished run of the strategy that this one needs.
        config_files: configs of the comparison.
        values: keys that its runs have in common, with seed and fold.

    Returns:
        Config key to value.

    Raises:
        SfgMedError: if the needed run is missing or not finished.
    """
    strategy = named_strategies()[name]
    config = dict(strategy.config)
    if strategy.needs is None:
        return config
    if source is None or not (source / "models" / "model.safetensors").is_file():
        raise SfgMedError(name, f"a finished run of {strategy.needs}", f"none in {source}", f"run {strategy.needs}")
    if config["strategy"]["name"] == "branched":
        from sfg_med.training.branching import search_tree

        tree = search_tree(source, config_files, values, budget=config["strategy"]["budget"])
        return {**config, "strategy": {**config["strategy"], "tree": tree}}
    return {**config, "initial_weights": str(source / "models" / "model.safetensors")}

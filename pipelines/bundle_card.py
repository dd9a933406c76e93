# SPDX-License-Identifier: Apache-2.0
"""The model card of a bundle, in the sections that MONAI's model zoo asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.bundle_configs import channel_names, data_source, is_simulated
from sfg_med import __version__
from sfg_med.model_file import LoadedModel
from sfg_med.networks.cost import network_cost

NOT_STATED = "Not stated. Score it on cases of your own: `sfg-med predict`, then `sfg-med evaluate`."
SIMULATED = (
    "**Trained on simulated patients only: it shows how the program works and is no clinical model.** On real MR its"
    " organs agree with an expert's only in part, and its Hounsfield units are those of a simulation."
)
TEMPLATE = Path(__file__).with_name("bundle_card.md")


def bundle_card(
    model: LoadedModel, metadata: Mapping[str, Any], performance: str, forms: Mapping[str, str], wheel: str = ""
) -> str:
    """Text of ``docs/README.md``.

    Args:
        model: the model.
        metadata: of the bundle.
        performance: Markdown of that section; empty if nothing is known.
        forms: file of each exported form to what was measured of it.
        wheel: path of the package's wheel within the bundle, if it is there.
    """
    shape = (1, model.spec.network.get("in_channels", 1), *model.spec.patch_size)
    parameters, gflop = network_cost(model.network, shape)
    made = model.metadata.get("provenance", {})
    rows = "\n".join(f"| `{file}` | {text} |" for file, text in forms.items())
    table = f"\nPrograms without `sfg_med`, for windows of the same kind:\n\n| file | |\n|---|---|\n{rows}\n"
    return TEMPLATE.read_text(encoding="utf-8").format(
        name=metadata["name"],
        authors=metadata["authors"],
        description=metadata["description"],
        network=model.spec.network.get("name", "network"),
        parameters=parameters,
        gflop=gflop,
        window=" x ".join(map(str, model.spec.patch_size)),
        channels="\n".join(f"| {i} | {name} |" for i, name in enumerate(channel_names(model.spec))),
        data=data_source(model),
        spacing=" x ".join(f"{s:g}" for s in model.spec.spacing_mm),
        performance=performance.strip() or NOT_STATED,
        version=__version__,
        has_wheel="brings along" if wheel else "does not hold; in a checkout of the project",
        install=f"pip install {wheel}" if wheel else "pip install --constraint constraints.txt .",
        forms=table if forms else "",
        training=f"{made['steps']:,} steps of {made.get('batch_size', 1)} patch, seed {made['seed']}"
        if made
        else "unknown",
        limitations=SIMULATED if is_simulated(model) else "",
        references="\n".join(f"- {text}" for text in metadata.get("references", [])),
    )


def known_performance(model: LoadedModel, card: Path) -> str:
    """The rows of figures of a card that names this very file by its hash; empty otherwise."""
    if not card.is_file() or model.sha256 not in (text := card.read_text(encoding="utf-8")):
        return ""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    first = next((i for i, row in enumerate(rows) if "who test" in row), len(rows))
    return "\n".join(["| | |", "|---|---|", *rows[first:]]) if rows[first:] else ""

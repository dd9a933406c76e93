# SPDX-License-Identifier: Apache-2.0
"""Arrows between the parts of the package point down only; docs/explanation/architecture.md shows them as they are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sfg_med"
# From top to bottom; parts of one layer know nothing of each other.
LAYERS = (
    ("cli",),
    ("report",),
    ("inference", "training", "preparation"),
    ("model_file",),
    ("transforms", "losses"),
    ("metrics", "data", "networks"),
    ("sharing",),
    ("spec", "processes", "devices"),
    ("spec_check", "allocator", "config_dir", "lean_import", "model_path"),
    ("errors",),
)
# Though below: pages are made from saved files, and what is shared is no matter of images.
UNKNOWN = {
    "report": {"networks", "sharing", "training", "losses", "model_file"},
    "transforms": {"networks", "sharing"},
    "losses": {"data", "metrics"},
}
UNKNOWN_PACKAGES = {"sharing": {"monai", "nibabel"}, "report": {"monai"}, "data": {"monai"}}
DEPTH = {part: depth for depth, parts in enumerate(LAYERS) for part in parts}


def imports(file: Path) -> Iterator[str]:
    """Full names of what a file imports when it runs, functions included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """Part to the parts and packages that it imports."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).with_suffix("").parts[0]
        names = [name.split(".") for name in imports(file)]
        found.setdefault(part, set()).update(".".join(name[:2]) if name[0] == "sfg_med" else name[0] for name in names)
    return {part: {name.removeprefix("sfg_med.") for name in names} for part, names in found.items()}


ARROWS = arrows()


def test_every_part_has_its_layer() -> None:
    assert set(ARROWS) - {"__init__"} == set(DEPTH)


@pytest.mark.parametrize("part", sorted(DEPTH))
def test_arrows_point_down(part: str) -> None:
    known = {name for name in ARROWS[part] if name in DEPTH and name != part}
    assert {name for name in known if DEPTH[name] <= DEPTH[part]} == set()
    assert known & UNKNOWN.get(part, set()) == set()
    assert ARROWS[part] & UNKNOWN_PACKAGES.get(part, set()) == set()
    assert "pipelines" not in ARROWS[part]


def test_the_page_shows_the_layers() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| (.+?) \|", page, re.MULTILINE)
    assert [tuple(re.findall(r"`(\w+)`", row)) for row in rows] == list(LAYERS)

# SPDX-License-Identifier: Apache-2.0
"""Commands that the documentation shows exist and have the options shown; its links lead somewhere; its data parse."""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from sfg_med.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "models" / "README.md", *(ROOT / "docs").rglob("*.md")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|((?:^(?: {4}.*)?\n)+)", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`((?:sfg-med|python -m pipelines)\b[^`\n]*)`")
STARTS = re.compile(r"(?:^|[|&;(] ?|: )(?:[A-Z_]+=\S+ )*(sfg-med|python -m pipelines\.\w+)(?= )")
SFG_MED = typer.main.get_command(app)


def commands(text: str) -> Iterator[str]:
    """Lines of blocks, and code within sentences, that call sfg-med or a pipeline."""
    blocks = [m.group(2) or m.group(3) or "" for m in BLOCK.finditer(text)]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in (*lines, *SPAN.findall(text)):
        found = STARTS.search(line)
        if found:
            yield line[found.start(1) :]


def command_of(words: list[str]) -> tuple[object, list[str]]:
    """The command that words call, and the rest of them."""
    if words[0] != "sfg-med":
        single = typer.Typer(add_completion=False)
        single.command()(importlib.import_module(words[2]).main)
        return typer.main.get_command(single), words[3:]
    name = next((word for word in words[1:] if not word.startswith("-")), None)
    if name is None or not hasattr(SFG_MED, "commands"):
        return SFG_MED, words[1:]
    assert name in SFG_MED.commands, f"{name} is no command of sfg-med"
    return SFG_MED.commands[name], words[2:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_their_options_exist(page: Path) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        words = shlex.split(re.split(r" #|[|;&<>]", line)[0], comments=True)
        command, rest = command_of(words)
        known = {"--help", "--version"}
        for parameter in command.params:  # type: ignore[attr-defined]
            known.update((*parameter.opts, *parameter.secondary_opts))
        options = [word.split("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
        assert set(options) <= known, f"{line}: {sorted(set(options) - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if heading and other.suffix == ".md":
            assert heading in anchors(other), target


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_blocks_of_data_parse() -> None:
    parsed = 0
    for page in PAGES:
        for kind, content, _ in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind in ("json", "yaml"):
                json.loads(content) if kind == "json" else yaml.safe_load(content)
                parsed += 1
    assert parsed >= 3

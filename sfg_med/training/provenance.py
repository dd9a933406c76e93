# SPDX-License-Identifier: Apache-2.0
"""``run.json`` and ``config.json``: what a run was made with, so that it can be told, and made, again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.bundle import ConfigParser

import sfg_med
from sfg_med.data.atomic import write_json
from sfg_med.data.splits import PARTS

logger = logging.getLogger(__name__)
SCHEMA = "sfg_med.run/1"
RUN, CONFIG = "run.json", "config.json"
COMMIT = "SFG_MED_COMMIT"
CHUNK = 2**20


def record_run(run_dir: str, seed: int, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write down config, versions, commit, data and seed; a run that goes on adds its start to the earlier ones.

    Args:
        run_dir: folder of the run.
        seed: seed of the run.
        parts: items of the cases by part, whose files are hashed.
    """
    if idist.get_rank():
        return
    folder = Path(run_dir)
    parser = _calling_parser()
    if parser is not None:
        write_json(folder / CONFIG, json.loads(json.dumps(parser.config, default=str)))
    former = _former(folder / RUN)
    items = [item for part in PARTS for item in parts[part]]
    files = sorted({str(path) for item in items for path in _paths(item)})
    start: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "host": platform.node(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "processes": idist.get_world_size(),
        "device": str(idist.device() if idist.get_world_size() > 1 else _device(parser)),
        "python": platform.python_version(),
        "packages": package_versions(),
        "commit": commit(),
        "seed": seed,
        "values": {} if parser is None else _computed(parser),
        "data": describe_files(files, former[-1]["data"] if former else None) if files else describe_arrays(items),
    }
    if former and former[0]["data"]["sha256"] != start["data"]["sha256"]:
        logger.warning("%s: the data are not those that this run began with", folder)
    write_json(folder / RUN, {"schema": SCHEMA, "starts": [*former, start]})


def describe_files(files: Sequence[str], former: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Number, bytes and SHA-256 of files.

    Args:
        files: sorted paths.
        former: an earlier description, whose hash is kept where name, size and time of all files are the same.

    Returns:
        ``sha256`` is of the list of the files' own hashes and names from the case's folder on, so that it does not
        depend on where the data lie; ``listing`` is what tells that nothing has changed.
    """
    facts = [(name, (s := Path(name).stat()).st_size, s.st_mtime_ns) for name in files]
    listing = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    about = {"files": len(files), "bytes": sum(size for _, size, _ in facts), "listing": listing}
    if former is not None and former["listing"] == listing:
        return {**about, "sha256": former["sha256"]}
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        hashes = list(pool.map(_hash, files))
    lines = sorted(f"{digest}  {'/'.join(Path(name).parts[-2:])}" for digest, name in zip(hashes, files, strict=True))
    return {**about, "sha256": hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()}


def describe_arrays(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """As :func:`describe_files`, for cases that are in memory: arrays, and the numbers beside them."""
    lines, size = [], 0
    for item in items:
        digest = hashlib.sha256()
        for key in sorted(item):
            content = np.ascontiguousarray(item[key]).tobytes()
            digest.update(key.encode() + content)
            size += len(content)
        lines.append(digest.hexdigest())
    total = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    return {"files": 0, "bytes": size, "listing": total, "sha256": total}


def package_versions() -> dict[str, str]:
    """Name to version of every installed package."""
    return dict(sorted((d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"]))


def commit() -> str | None:
    """The checkout's git commit, with ``-dirty`` where files differ from it; an image has it in ``$SFG_MED_COMMIT``."""
    root = Path(sfg_med.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return os.environ.get(COMMIT) or None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT) or None


def _hash(name: str) -> str:
    digest = hashlib.sha256()
    with Path(name).open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _paths(item: Mapping[str, Any]) -> Iterator[Path]:
    """The files that an item names."""
    for key, value in item.items():
        if key != "case" and isinstance(value, str | Path) and Path(value).is_file():
            yield Path(value).absolute()


def _former(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["starts"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _computed(parser: ConfigParser) -> dict[str, Any]:
    """What the config's expressions at the top level came to, where that is plain data."""
    found = parser.ref_resolver.resolved_content
    config: Any = parser.config
    asked = {key: found.get(key) for key, value in config.items() if isinstance(value, str) and key in found}
    return {key: value for key, value in asked.items() if isinstance(value, bool | int | float | str)}


def _device(parser: ConfigParser | None) -> Any:
    return None if parser is None else parser.get_parsed_content("device")


def _calling_parser() -> ConfigParser | None:
    """The parser that evaluates the expression we are called from: MONAI gives a config no name for its whole self."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if isinstance(parser := frame.f_locals.get("self"), ConfigParser):
            return parser
    return None

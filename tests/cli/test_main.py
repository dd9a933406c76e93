# SPDX-License-Identifier: Apache-2.0
"""``sfg-med`` itself starts at once and knows its commands."""

import os
import subprocess
import sys
import time

import pytest

import sfg_med

HEAVY = ("torch", "monai", "matplotlib", "itk", "SimpleITK", "pydicom", "mlflow", "skimage", "scipy")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    # Coloured or wrapped text would hide the words looked for.
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)


def test_help_is_instant_and_lists_the_commands() -> None:
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine is not the program's
        start = time.monotonic()
        done = run("-m", "sfg_med.cli.main", "--help")
        seconds.append(time.monotonic() - start)
        if seconds[-1] < 1:
            break
    assert done.returncode == 0, done.stderr
    for command in ("demo", "evaluate", "predict", "report", "simulate", "train"):
        assert f" {command} " in done.stdout
    assert min(seconds) < 1.0


@pytest.mark.parametrize("module", ["sfg_med", "sfg_med.cli.main"])
def test_imports_are_light(module: str) -> None:
    done = run("-c", f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_version() -> None:
    done = run("-m", "sfg_med.cli.main", "--version")
    assert done.stdout == f"sfg-med {sfg_med.__version__}\n"
    assert done.returncode == 0


def test_an_unknown_command_or_option_is_wrong_usage() -> None:
    for words in (["trian"], ["train", "--bogus"]):
        done = run("-m", "sfg_med.cli.main", *words)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr

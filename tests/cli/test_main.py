# SPDX-License-Identifier: Apache-2.0
"""``sfg-med`` itself starts at once and knows its commands."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import sfg_med
from sfg_med.cli.main import main
from sfg_med.errors import SfgMedError

HEAVY = ("torch", "monai", "matplotlib", "itk", "SimpleITK", "pydicom", "mlflow", "skimage", "scipy")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    # Coloured or wrapped text would hide the words looked for.
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)


def test_help_is_instant_and_lists_the_commands() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("-m", "sfg_med.cli.main", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "evaluate", "predict", "report", "simulate", "train"):
        assert f" {command} " in done.stdout
    # time of the processor: other work on the machine is not the program's
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize("module", ["sfg_med", "sfg_med.cli.main"])
def test_imports_are_light(module: str) -> None:
    done = run("-c", f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_version() -> None:
    done = run("-m", "sfg_med.cli.main", "--version")
    assert done.stdout == f"sfg-med {sfg_med.__version__}\n"
    assert done.returncode == 0


def test_what_the_system_refuses_is_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sfg_med.cli.main.app", lambda: Path("/dev/null/x").read_text())
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: /dev/null/x: Not a directory\n"


@pytest.mark.parametrize("fault", [RuntimeError("first\nsecond"), MemoryError(), KeyError("key"), RecursionError()])
def test_a_fault_is_one_line_unless_one_wants_to_see_it(fault: Exception, monkeypatch, capsys) -> None:
    def fail() -> None:
        raise fault

    monkeypatch.setattr("sfg_med.cli.main.app", fail)
    monkeypatch.delenv("SFG_MED_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert ("SFG_MED_DEBUG=1" in said) != isinstance(fault, MemoryError)
    monkeypatch.setenv("SFG_MED_DEBUG", "1")
    with pytest.raises(type(fault)):
        main()


def test_names_of_files_do_not_command_the_terminal() -> None:
    line = str(SfgMedError("a\nb\x1b[2J\udcff", "x\ny", "z", "do"))
    assert line == r"a\nb\x1b[2J\udcff: expected x y, found z; do"


def test_an_unknown_command_or_option_is_wrong_usage() -> None:
    for words in (["trian"], ["train", "--bogus"]):
        done = run("-m", "sfg_med.cli.main", *words)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr

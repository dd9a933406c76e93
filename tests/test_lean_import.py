# SPDX-License-Identifier: Apache-2.0
"""MONAI finds nothing that nothing here uses through it; whoever needs it still does."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CODE = """
import sys
from sfg_med.lean_import import UNUSED, hide_from_monai
import matplotlib
hide_from_monai()
hide_from_monai()
import monai.transforms
assert sys.modules["matplotlib"] is matplotlib
found = [n for n in UNUSED if n in sys.modules and n != "matplotlib"]
assert not found, found
assert all(finder.__class__.__module__ != "sfg_med.lean_import" for finder in sys.meta_path)
import sklearn, torch.distributed.optim
assert monai.__spec__.name == "monai" and monai.__version__
from types import SimpleNamespace
from sfg_med.training import mlflow_handler
mlflow_handler(sys.argv[1], SimpleNamespace(step=0), trains=False)
assert "mlflow" in sys.modules
"""


@pytest.mark.skipif(not find_spec("mlflow"), reason="needs the extra mlflow")
def test_hidden_while_monai_is_imported_and_there_afterwards(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-c", CODE, str(tmp_path)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

# SPDX-License-Identifier: Apache-2.0
"""Nothing needs the internet: the commands run in a network namespace that has no interfaces."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CUT_OFF = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
TRY = "import socket; socket.create_connection(('1.1.1.1', 53), 2)"


def namespaces() -> bool:
    """Whether this machine has ``unshare`` and lets us use it."""
    found = shutil.which("unshare") is not None
    return found and subprocess.run([*CUT_OFF, "true"], capture_output=True, check=False).returncode == 0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command without a network, without proxies and with an empty home."""
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    done = subprocess.run(
        [*CUT_OFF, *command], capture_output=True, text=True, check=False, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.skipif(not namespaces(), reason="needs unshare and the right to make a network namespace")
def test_train_predict_evaluate_and_report_without_a_network(tiny_dataset: Path, tmp_path: Path) -> None:
    refused = subprocess.run([*CUT_OFF, sys.executable, "-c", TRY], capture_output=True, text=True, check=False)
    assert "unreachable" in refused.stderr, "the namespace has no network"
    sfg = (sys.executable, "-m", "sfg_med.cli.main")
    trained, predicted, scored = (str(tmp_path / name) for name in ("run", "out", "scores"))
    tiny = ("network::channels=[4,8]", "network::strides=[2]", "network::kernel_sizes=[3,3]", "patch_size=[32,32,16]")
    options = ("spacing_mm=[10,10,10]", "steps=2", "steps_per_epoch=2", "num_workers=1", "precision=fp32")
    run(*sfg, "train", "--quiet", "--dataset-dir", str(tiny_dataset), "--run-dir", trained, *tiny, *options)
    run(*sfg, "predict", "-i", str(tiny_dataset), "-o", predicted, "-m", trained, "--quiet")
    run(*sfg, "evaluate", "-p", predicted, "-r", str(tiny_dataset), "-o", scored)
    run(*sfg, "report", trained)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["summary"] == {"cases": 6, "done": 6, "failed": 0, "skipped": 0}
    for page in ("run/report.html", "out/qc.html"):
        assert (tmp_path / page).stat().st_size > 1000
    assert (tmp_path / "scores" / "metrics.csv").is_file()

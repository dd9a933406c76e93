# SPDX-License-Identifier: Apache-2.0
"""One formula against path form, by the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.forms import compare, summary
from sfg_med.errors import SfgMedError


def made_up(scale: float = 1.0) -> dict[str, np.ndarray]:
    """Gradients around (3, 4) with a standard deviation of ``scale`` in each of two numbers."""
    noise = np.random.default_rng(0).normal(0, scale, (5, 4000, 2))
    losses = np.random.default_rng(1).normal(0, 1, (5, 4000))
    values = {"gradients": np.array([3.0, 4.0]) + noise, "losses": losses, "seconds": np.array([1.0, 2.0, 9.0])}
    return {**values, "peak_bytes": np.array(2**31), "hash": np.array(1.5)}


def test_summary_has_the_length_of_the_mean_and_the_root_of_the_summed_variances() -> None:
    found = summary(made_up(2.0))
    assert found["gradient_mean"] == pytest.approx(5.0, rel=0.02)
    assert found["gradient_std"] == pytest.approx(np.sqrt(8.0), rel=0.02)
    assert (found["seconds_per_step"], found["peak_gib"]) == (2.0, 2.0)


def test_forms_of_different_weights_are_not_compared() -> None:
    with pytest.raises(SfgMedError, match="same initial weights"):
        compare(made_up(), {**made_up(), "hash": np.array(1.6)})
    assert compare(made_up(), made_up(2.0))["paths_over_formula"]["gradient_std"] == pytest.approx(2.0, rel=0.02)


@pytest.mark.slow
def test_both_forms_compute_the_same_losses_from_the_same_draws(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "forms.json"
    simulate = [sys.executable, "-m", "sfg_med.cli.main", "simulate", "--cases", "3", "--seed", "0"]
    subprocess.run([*simulate, "--out", str(data)], check=True, capture_output=True)
    keys = ["patch_size=[16,16,16]", "network::channels=[4,8]", "network::strides=[2]", "network::kernel_sizes=[3,3]"]
    command = [sys.executable, "-m", "pipelines.forms", "--dataset-dir", str(data), "--out", str(out)]
    options = ["--draws", "3", "--batches", "2", "precision=fp32", "cache_rate=0.0", "spacing_mm=[8.0,8.0,8.0]"]
    done = subprocess.run([*command, *options, *keys], check=False, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["largest_loss_difference"] < 1e-5
    assert found["formula"]["loss_std_over_draws"] > 1e-4
    assert found["formula"]["gradient_std"] > 0
    assert found["cosine_of_mean_gradients"] > 0

# SPDX-License-Identifier: Apache-2.0
"""Ratios of a race are those of its turns."""

from __future__ import annotations

import time

import pytest
import torch

from pipelines.race import matrix_rate, race

CPU = torch.device("cpu")


def test_what_slows_a_turn_slows_all_of_it_and_leaves_its_ratio(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pipelines.race.time.perf_counter", lambda: now[0])
    speed = iter([9.0, 1.0, 7.0, 1.0, 1.0, 5.0, 3.0, 1.0])  # the first run of two does not count; one turn is slow

    class Machine:
        slowness = 1.0

    def short() -> None:
        Machine.slowness = next(speed)
        now[0] += 1.0 * Machine.slowness

    def long() -> None:
        now[0] += 3.0 * Machine.slowness

    found = race({"short": short, "long": long}, "short", turns=4, device=CPU)
    assert found["long"]["ratio"] == found["long"]["ratio_q1"] == found["long"]["ratio_q3"] == 3.0
    assert found["short"]["seconds"] == 1.0
    assert found["short"]["ratio"] == 1.0


def test_real_seconds() -> None:
    found = race({"wait": lambda: time.sleep(0.01)}, "wait", turns=3, device=CPU)["wait"]
    assert 0.009 < found["seconds"] < 0.2
    assert found["seconds_q1"] <= found["seconds"] <= found["seconds_q3"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrix_products_have_a_rate(dtype: torch.dtype) -> None:
    assert matrix_rate(CPU, dtype, size=128) > 0.1

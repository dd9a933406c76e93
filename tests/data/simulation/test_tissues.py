# SPDX-License-Identifier: Apache-2.0
"""The MR equation against scalar arithmetic, and the order of brightness that every reader of MR knows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sfg_med.data.simulation.noise import Streams
from sfg_med.data.simulation.tissues import TISSUES, Tissue, draw_tissues, spin_echo


@pytest.mark.parametrize("te", [80.0, 110.0])
@pytest.mark.parametrize("tr", [2500.0, 5000.0])
def test_spin_echo_formula(te: float, tr: float) -> None:
    tissue = Tissue(t1_ms=1400.0, t2_ms=50.0, density=0.8, ct_hu=55.0)
    expected = 0.8 * (1 - math.exp(-tr / 1400.0)) * math.exp(-te / 50.0)
    assert spin_echo(tissue, te, tr) == pytest.approx(expected, rel=1e-12)


def test_brightness_on_t2_weighting() -> None:
    signal = {name: spin_echo(tissue, 95.0, 3500.0) for name, tissue in TISSUES.items()}
    order = ("urine", "fat", "transition_zone", "muscle", "cortical_bone")
    values = [signal[name] for name in order]
    assert values == sorted(values, reverse=True)
    assert signal["peripheral_zone"] > 1.3 * signal["transition_zone"]
    assert signal["cortical_bone"] < 1e-6
    assert signal["gas"] == signal["air"] == 0.0


def test_a_mans_tissues_stay_near_the_table() -> None:
    varied = {"stool", "gut_fluid", "seminal_vesicle", "peripheral_zone"}
    for seed in range(20):
        for name, tissue in draw_tissues(Streams((seed,))).items():
            reference = TISSUES[name]
            assert abs(tissue.ct_hu - reference.ct_hu) <= 5.0
            if name not in varied:
                assert 0.7 * 0.75 <= tissue.t1_ms / reference.t1_ms <= 1.3
                assert 0.65 <= tissue.t2_ms / reference.t2_ms <= 1.35


def test_men_differ_as_documented() -> None:
    men = [draw_tissues(Streams((seed,))) for seed in range(400)]
    t2 = np.array([man["muscle"].t2_ms for man in men]) / TISSUES["muscle"].t2_ms
    density = np.array([man["muscle"].density for man in men]) / TISSUES["muscle"].density
    assert t2.std() == pytest.approx(0.15, rel=0.12)
    assert density.std() == pytest.approx(0.06, rel=0.12)
    assert t2.mean() == pytest.approx(1.0, abs=0.03)
    zones = np.array([man["peripheral_zone"].t2_ms / man["transition_zone"].t2_ms for man in men])
    assert zones.min() > 1.0
    assert np.percentile(zones, 5) < 1.15  # nearly no contrast ...
    assert np.percentile(zones, 95) > 1.9  # ... to a strong one
    t1 = np.array([np.mean([man[n].t1_ms / TISSUES[n].t1_ms for n in TISSUES]) for man in men])
    assert t1.min() < 0.82  # 1.5 T
    assert np.median(t1) == pytest.approx(0.96, abs=0.06)


def test_the_documented_table_is_the_one_in_use() -> None:
    text = (Path(__file__).parents[3] / "docs" / "explanation" / "simulation.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()]
    documented = {row[0]: row[1:6] for row in rows if len(row) == 7 and row[0] in TISSUES}
    assert list(documented) == list(TISSUES)
    fat = spin_echo(TISSUES["fat"], 95.0, 3500.0)
    for name, tissue in TISSUES.items():
        values = (tissue.t1_ms, tissue.t2_ms, tissue.density, tissue.ct_hu)
        relative = round(spin_echo(tissue, 95.0, 3500.0) / fat, 2)
        assert [float(v) for v in documented[name]] == pytest.approx([*values, relative]), name

# SPDX-License-Identifier: Apache-2.0
"""The MR equation against scalar arithmetic, and the order of brightness that every reader of MR knows."""

from __future__ import annotations

import math
from pathlib import Path

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
    for seed in range(20):
        for name, tissue in draw_tissues(Streams((seed,))).items():
            reference = TISSUES[name]
            assert 0.85 <= tissue.t1_ms / reference.t1_ms <= 1.15
            assert 0.85 <= tissue.t2_ms / reference.t2_ms <= 1.15
            assert abs(tissue.ct_hu - reference.ct_hu) <= 5.0


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

# SPDX-License-Identifier: Apache-2.0
"""What lies around the prostate: levator ani beside it, the rectum behind it, the urethra's sphincter below it."""

import numpy as np
import pytest

from sfg_med.data.simulation import TISSUE_NAMES, SimulatedCase, simulate_case
from sfg_med.data.simulation.organs import resting_on
from sfg_med.spec import PELVIS_LABELS

SPACING = 2.5
PROSTATE, RECTUM = PELVIS_LABELS["prostate"], PELVIS_LABELS["rectum"]


@pytest.fixture(scope="module", params=[(2027, 5), (2027, 44), (2027, 101)])
def man(request: pytest.FixtureRequest) -> SimulatedCase:
    return simulate_case(request.param, (SPACING,) * 3)


def middle(man: SimulatedCase) -> tuple[int, int, int]:
    x, y, z = (round(float(at.mean())) for at in np.nonzero(man.seg == PROSTATE))
    return x, y, z


def test_levator_ani_lies_beside_the_prostate(man: SimulatedCase) -> None:
    """In the plane through its middle the first muscle on both sides is millimetres away, not at the side wall."""
    _x, y, z = middle(man)
    gland = np.flatnonzero(man.seg[:, y, z] == PROSTATE)
    muscle = np.flatnonzero(man.tissue[:, y, z] == TISSUE_NAMES.index("muscle"))
    right, left = muscle[muscle > gland[-1]][0] - gland[-1], gland[0] - muscle[muscle < gland[0]][-1]
    assert max(right, left) * SPACING <= 12


def test_the_rectum_rests_on_the_prostate(man: SimulatedCase) -> None:
    x, _, z = middle(man)
    line = man.seg[x, :, z]
    gap = np.flatnonzero(line == PROSTATE)[0] - np.flatnonzero(line == RECTUM)[-1] - 1
    assert 0 <= gap * SPACING <= 6


def test_a_ring_of_muscle_is_below_the_apex(man: SimulatedCase) -> None:
    """5 mm below the apex the urethra lies in a ring of 16 mm: at least half of its 200 mm2 is there, 15 mm around."""
    at = np.argwhere(man.seg == PROSTATE)
    x, y, z = (round(v) for v in at[at[:, 2] == at[:, 2].min()].mean(0))
    around = man.tissue[x - 6 : x + 7, y - 6 : y + 7, z - 2]
    ring = np.isin(around, [TISSUE_NAMES.index(name) for name in ("stroma", "mucosa")])
    assert ring.sum() * SPACING**2 >= 100


def test_a_gut_bulges_to_the_gland_over_narrow_gaps_only() -> None:
    """On a line between two balls the wall moves to 2 mm off the gland over gaps up to 7 mm, not over 16 and more."""
    for gap, expected in ((1.0, 1.0), (2.0, 2.0), (4.0, 2.0), (7.0, 2.0), (16.0, 16.0), (30.0, 30.0)):
        at = np.linspace(0, gap, 6001, dtype=np.float32)
        wall = at[np.argmin(np.abs(resting_on(at, gap - at)))]
        assert gap - wall == pytest.approx(expected, abs=0.02)

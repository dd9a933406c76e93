# SPDX-License-Identifier: Apache-2.0
"""Bodies in MR and CT, and a couch that goes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sfg_med.data.simulation import simulate_case
from sfg_med.data.simulation.case import SimulatedCase
from sfg_med.errors import SfgMedError
from sfg_med.preparation.bodies import ct_body, mr_body, without_couch
from sfg_med.preparation.registration.quality import overlap

SPACING = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def man() -> SimulatedCase:
    return simulate_case(5, SPACING)


def test_the_body_in_a_simulated_mr(man: SimulatedCase) -> None:
    assert overlap(mr_body(man.mr, SPACING, "mr"), man.mask > 0) > 0.98


def with_couch(man: SimulatedCase, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """A CT with a couch: a plate of 4 mm carbon, foam, and a second plate, as wide as the field of view.

    With ``gap`` 0 the upper plate touches the patient's back.
    """
    pad = np.pad(man.ct.astype(np.float32), ((0, 0), (12, 0), (0, 0)), constant_values=-1000)
    back = np.flatnonzero((pad > -500).any(axis=(0, 2)))[0]
    plate = back - 1 - gap
    couch = np.zeros(pad.shape, bool)
    couch[2:-2, [plate, plate - 6]] = True
    couch[[2, -3], plate - 6 : plate] = True
    pad[2:-2, plate - 5 : plate] = -930  # foam
    pad[couch] = 150
    return pad, couch


@pytest.mark.parametrize("gap", [0, 2])
def test_a_couch_goes_and_the_patient_stays(man: SimulatedCase, gap: int) -> None:
    ct, couch = with_couch(man, gap)
    truth = np.pad(man.mask > 0, ((0, 0), (12, 0), (0, 0)))
    body = ct_body(ct, SPACING, "ct")
    assert overlap(body, truth) > 0.98
    bare, removed = without_couch(ct, body, SPACING)
    # what touches the back stays as far as the skin's blurred edge goes: two voxels, of which one may count as body
    far = ndimage.distance_transform_edt(~truth, sampling=SPACING) > 8
    assert couch[far].sum() > 0.5 * couch.sum()
    assert np.all(bare[couch & far] == -1000)
    np.testing.assert_array_equal(bare[truth & body], ct[truth & body])
    assert couch[far].sum() * 64 / 1000 * 0.95 < removed < couch.sum() * 64 / 1000 * 1.05


def test_gas_inside_is_body(man: SimulatedCase) -> None:
    ct = man.ct.astype(np.float32)
    middle = tuple(n // 2 for n in ct.shape)
    ct[middle[0] - 2 : middle[0] + 2, middle[1] - 2 : middle[1] + 2, :] = -1000
    assert ct_body(ct, SPACING, "ct")[middle]


def test_noise_alone_has_no_body() -> None:
    with pytest.raises(SfgMedError, match="no body"):
        ct_body(np.random.default_rng(0).normal(-1000, 20, (20, 20, 10)), SPACING, "x")

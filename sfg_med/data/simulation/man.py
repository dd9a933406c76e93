# SPDX-License-Identifier: Apache-2.0
"""The numbers that make one simulated man different from the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfg_med.data.simulation.noise import Streams


@dataclass(frozen=True)
class Man:
    """Anatomical parameters, drawn at random from ranges of adult men.

    Args:
        scale: size relative to the template along x, y, z.
        warp_mm: standard deviation of the smooth displacement of the whole pelvis.
        fat_mm: thickness of the subcutaneous fat over the hip.
        belly: extra thickness of the fat over the abdomen, relative to the hip.
        table_mm: y of the table top that flattens the back.
        head_radius_mm: radius of the femoral head (mean diameter of men about 49 mm).
        anteversion_mm: how far the greater trochanter lies behind the head.
        neck_drop_mm: how far the shaft axis meets the neck below the head (sets the neck-shaft angle).
        cortex: factor of the cortical thickness.
        trabecular_hu: CT number that the trabeculae add to the marrow.
        yellow: share of yellow marrow in the pelvic bones.
        prostate_ml: nominal volume of the prostate.
        prostate_shift_mm: offset of the prostate along x, y, z.
        bladder_ml: nominal volume of the bladder.
        bladder_flat: ratio of height to width of the bladder.
        ampulla_mm: radius of the rectal ampulla.
        rectal_gas: height of the gas level in the rectum, in radii; above 1 there is none.
        stool: share of the lumen of the rectum that holds stool rather than mucus.
        muscle_fat: amount of fat between and inside the muscles.
        muscle_mm: how much the muscles swell beyond their template.
        genital_shift_mm: offset of the hanging genitals along x and y.
    """

    scale: tuple[float, float, float]
    warp_mm: float
    fat_mm: float
    belly: float
    table_mm: float
    head_radius_mm: float
    anteversion_mm: float
    neck_drop_mm: float
    cortex: float
    trabecular_hu: float
    yellow: float
    prostate_ml: float
    prostate_shift_mm: tuple[float, float, float]
    bladder_ml: float
    bladder_flat: float
    ampulla_mm: float
    rectal_gas: float
    stool: float
    muscle_fat: float
    muscle_mm: float
    genital_shift_mm: tuple[float, float]

    @property
    def prostate_radii_mm(self) -> tuple[float, float, float]:
        """Semi-axes of the prostate along x, y, z: wider than high, higher than deep."""
        size = (3000.0 * self.prostate_ml / (4.0 * np.pi)) ** (1 / 3)
        return 1.17 * size, 0.88 * size, 0.97 * size

    @property
    def prostate_centre_mm(self) -> tuple[float, float, float]:
        """Centre of the prostate: behind the symphysis; a large one grows upward and backward."""
        _, depth, height = self.prostate_radii_mm
        dx, dy, dz = self.prostate_shift_mm
        return dx, 26.0 - depth + dy, -40.0 + height + dz

    @property
    def bladder_radii_mm(self) -> tuple[float, float, float]:
        """Semi-axes of the bladder along x, y, z."""
        size = (3000.0 * self.bladder_ml / (4.0 * np.pi)) ** (1 / 3)
        wide = size / (0.88 * self.bladder_flat) ** (1 / 3)
        return wide, 0.88 * wide, self.bladder_flat * wide

    @property
    def bladder_centre_mm(self) -> tuple[float, float, float]:
        """Centre of the bladder: it rests on the prostate."""
        px, py, pz = self.prostate_centre_mm
        _, depth, height = self.bladder_radii_mm
        return 0.5 * px, min(py + 4.0, 48.0 - depth), pz + 0.80 * self.prostate_radii_mm[2] + 0.86 * height


def draw_man(streams: Streams) -> Man:
    """Draw one man's parameters; parameters are independent except that a full bladder is rounder."""
    rng = streams("man")

    def normal(mean: float, std: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, std), low, high))

    size = normal(1.0, 0.03, 0.93, 1.07)
    scale = tuple(size * normal(1.0, 0.02, 0.95, 1.05) for _ in range(3))
    bladder = float(np.clip(np.exp(rng.normal(np.log(140.0), 0.65)), 30.0, 450.0))
    full = np.log(bladder / 30.0) / np.log(15.0)
    return Man(
        scale=(scale[0], scale[1], scale[2]),
        warp_mm=normal(2.6, 0.5, 1.5, 3.5),
        fat_mm=normal(19.0, 6.0, 9.0, 34.0),
        belly=normal(1.25, 0.25, 0.8, 1.8),
        table_mm=normal(-116.0, 3.5, -125.0, -111.0),
        head_radius_mm=normal(24.5, 1.2, 22.0, 27.0),
        anteversion_mm=normal(12.0, 6.0, 0.0, 24.0),
        neck_drop_mm=normal(34.0, 4.0, 25.0, 43.0),
        cortex=normal(1.0, 0.12, 0.75, 1.3),
        trabecular_hu=normal(290.0, 50.0, 170.0, 420.0),
        yellow=normal(0.62, 0.12, 0.35, 0.9),
        prostate_ml=float(np.clip(np.exp(rng.normal(np.log(42.0), 0.38)), 20.0, 95.0)),
        prostate_shift_mm=(normal(0, 2, -4, 4), normal(0, 2, -4, 4), normal(0, 3, -6, 6)),
        bladder_ml=bladder,
        bladder_flat=float(np.clip(0.58 + 0.34 * full + rng.normal(0, 0.07), 0.5, 1.05)),
        ampulla_mm=normal(18.0, 4.0, 11.5, 27.0),
        rectal_gas=float(rng.uniform(-0.3, 1.5)),
        stool=float(rng.uniform(0.2, 1.0)),
        muscle_fat=normal(1.0, 0.35, 0.4, 2.0),
        muscle_mm=normal(4.5, 1.2, 2.0, 7.0),
        genital_shift_mm=(normal(0, 6, -12, 12), normal(-1, 4, -8, 6)),
    )

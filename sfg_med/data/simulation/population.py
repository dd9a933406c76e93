# SPDX-License-Identifier: Apache-2.0
"""Draw men: the distribution of every anatomical parameter.

Sources. Prostate: of 204 men of mean age 62, 188 had 36 +- 18 ml and 17 had 126 +- 41 ml (Sellers et al., Ther Adv
Urol 13, 2021, PMC8020739); median on MR before prostatectomy 36 ml (Bezinque et al., Acad Radiol 25:1582, 2018).
Bladder: 184-757 ml, mean 373, with a filling protocol (Cramp et al., J Med Radiat Sci 63:179, 2016, PMC5016618), and
58 ml on average after voiding (PMC2722659); both kinds of men are scanned. Neck-shaft angle 124.7 +- 6.2 degrees,
version 14.5 +- 8.1 degrees, femoral offset 42.9 +- 6.8 mm (Carmona et al., J Arthroplasty 34, 2019, CT of 628
people). Pelvic tilt: standard deviation 5 degrees (Preece et al., J Man Manip Ther 16:113, 2008, PMC2565125).
Balloons of 60-100 ml: Husband et al., Clin Radiol 53:673, 1998; filled with air or perfluorocarbon: Noworolski et
al., J Magn Reson Imaging 27:1077, 2008. All other numbers are choices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Streams

RANGES: dict[str, tuple[float, float]] = {
    "scale": (0.88, 1.14),
    "warp_mm": (1.5, 6.5),
    "fine_warp_mm": (0.2, 1.1),
    "tilt_deg": (-10.0, 10.0),
    "turn_deg": (-5.0, 5.0),
    "fat_mm": (5.0, 60.0),
    "belly": (0.6, 1.9),
    "table_mm": (-125.0, -111.0),
    "head_radius_mm": (21.5, 27.5),
    "neck_shaft_deg": (110.0, 140.0),
    "version_deg": (-8.0, 40.0),
    "femoral_offset_mm": (32.0, 53.0),
    "cortex": (0.7, 1.4),
    "trabecular_hu": (120.0, 450.0),
    "yellow": (0.3, 0.95),
    "prostate_ml": (15.0, 150.0),
    "prostate_shift_mm": (-5.0, 5.0),
    "prostate_shape": (0.88, 1.12),
    "prostate_taper": (0.08, 0.34),
    "prostate_skew": (-0.14, 0.14),
    "median_lobe": (0.0, 1.0),
    "inner_share": (-0.07, 0.07),
    "vesicle": (0.55, 1.5),
    "bladder_ml": (20.0, 700.0),
    "bladder_flat": (0.42, 1.3),
    "bladder_shift_mm": (-12.0, 12.0),
    "bladder_dent": (0.0, 1.0),
    "bladder_rough": (1.0, 4.5),
    "ampulla_mm": (9.5, 32.0),
    "rectal_gas": (-1.4, 1.6),
    "rectal_sway": (0.4, 2.2),
    "stool": (0.0, 1.0),
    "floor_mm": (1.5, 3.4),
    "floor_gap_mm": (0.5, 7.0),
    "plexus": (0.0, 2.2),
    "muscle_fat": (0.25, 3.5),
    "muscle_mm": (0.5, 8.5),
    "genital_shift_mm": (-12.0, 12.0),
    "bulb": (0.75, 1.35),
    "vessel": (0.7, 1.4),
    "bowel_gas": (0.0, 1.0),
    "bowel_share": (0.25, 1.0),
    "balloon_ml": (60.0, 100.0),
}
COILS, SIDES = ("gas", "perfluorocarbon"), ("left", "right")
RARE = 0.06  # probability of an endorectal coil, and of a hip implant


class _Draw:
    """Random numbers within ``RANGES``, each parameter from a stream of its own.

    Args:
        streams: the man's random streams.
        variation: factor of every deviation from the middle, and of the probability of what is rare.
    """

    def __init__(self, streams: Streams, variation: float) -> None:
        self.streams, self.variation = streams, variation

    def __call__(self, name: str, draw: Callable[[np.random.Generator], float]) -> float:
        return float(np.clip(draw(self.streams(f"man {name}")), *RANGES[name]))

    def normal(self, name: str, mean: float, std: float) -> float:
        return self(name, lambda rng: rng.normal(mean, self.variation * std))

    def skewed(self, name: str, median: float, sigma: float) -> float:
        """Lognormal."""
        return self(name, lambda rng: median * np.exp(rng.normal(0.0, self.variation * sigma)))

    def uniform(self, name: str) -> float:
        middle = sum(RANGES[name]) / 2
        return self(name, lambda rng: middle + self.variation * (rng.uniform(*RANGES[name]) - middle))

    def several(self, name: str, std: tuple[float, ...], mean: float = 0.0) -> tuple[float, ...]:
        drawn = self.streams(f"man {name}").normal(mean, np.multiply(self.variation, std))
        return tuple(float(v) for v in np.clip(drawn, *RANGES[name]))

    def rarely(self, name: str, probability: float, values: tuple[str, ...]) -> str:
        rng = self.streams(f"man {name}")
        chosen = str(rng.choice(values))
        return chosen if rng.random() < self.variation * probability else ""

    def count(self, name: str, probability: float, most: int) -> int:
        rng = self.streams(f"man {name}")
        number = int(rng.integers(1, most + 1))
        return number if rng.random() < self.variation * probability else 0


def draw_man(streams: Streams, variation: float = 1.0) -> Man:
    """Draw one man; full bladders are rounder, thick bellies are limited, large prostates have lobes more often.

    Args:
        streams: the man's random streams.
        variation: how much men differ: 1 as the sources say, 0 not at all.
    """
    draw = _Draw(streams, variation)
    size = streams("man size").normal(1.0, 0.04 * variation)
    fat = draw.skewed("fat_mm", 19.0, 0.5)
    prostate = draw.skewed("prostate_ml", 38.0, 0.55)
    bladder = draw.skewed("bladder_ml", 150.0, 0.75)
    lobed = streams("man lobed").random() < 0.06 + 0.3 * np.clip((prostate - 40.0) / 60.0, 0, 1)
    muscle = draw.normal("muscle_mm", 4.3, 1.8)
    return Man(
        scale=draw.several("scale", (0.03, 0.03, 0.03), size),  # type: ignore[arg-type]
        warp_mm=draw.skewed("warp_mm", 3.2, 0.4),
        fine_warp_mm=draw.uniform("fine_warp_mm"),
        tilt_deg=draw.normal("tilt_deg", 0.0, 5.0),
        turn_deg=draw.several("turn_deg", (1.8, 2.2)),  # type: ignore[arg-type]
        fat_mm=fat,
        belly=min(draw.normal("belly", 1.2, 0.3), 78.0 / fat),
        table_mm=draw.normal("table_mm", -116.0, 3.5),
        head_radius_mm=draw.normal("head_radius_mm", 24.5, 1.2),
        neck_shaft_deg=draw.normal("neck_shaft_deg", 124.7, 6.2),
        version_deg=draw.normal("version_deg", 17.0, 9.0),
        femoral_offset_mm=draw.normal("femoral_offset_mm", 43.0, 5.0),
        cortex=draw.normal("cortex", 1.0, 0.14),
        trabecular_hu=draw.normal("trabecular_hu", 280.0, 65.0),
        yellow=draw.normal("yellow", 0.64, 0.14),
        prostate_ml=prostate,
        prostate_shift_mm=draw.several("prostate_shift_mm", (2.0, 1.5, 3.0)),  # type: ignore[arg-type]
        prostate_shape=draw.several("prostate_shape", (0.05, 0.05), 1.0),  # type: ignore[arg-type]
        prostate_taper=draw.normal("prostate_taper", 0.2, 0.06),
        prostate_skew=draw.normal("prostate_skew", 0.0, 0.06),
        median_lobe=float(lobed) * (0.4 + 0.6 * draw.uniform("median_lobe")),
        inner_share=draw.normal("inner_share", 0.0, 0.03),
        vesicle=draw.skewed("vesicle", 1.0, 0.25),
        bladder_ml=bladder,
        bladder_flat=draw.normal("bladder_flat", 0.5 + 0.4 * np.log(bladder / 20.0) / np.log(35.0), 0.12),
        bladder_shift_mm=draw.several("bladder_shift_mm", (4.0, 4.0)),  # type: ignore[arg-type]
        bladder_dent=max(draw.normal("bladder_dent", 0.1, 0.5), 0.0),
        bladder_rough=draw.normal("bladder_rough", 2.6, 0.9),
        ampulla_mm=draw.skewed("ampulla_mm", 17.0, 0.3),
        rectal_gas=draw.uniform("rectal_gas"),
        rectal_sway=draw.normal("rectal_sway", 1.0, 0.5),
        stool=draw.uniform("stool"),
        floor_mm=draw.normal("floor_mm", 2.3, 0.4),
        floor_gap_mm=draw.skewed("floor_gap_mm", 2.2, 0.5),
        plexus=draw.normal("plexus", 1.0, 0.45),
        muscle_fat=draw.skewed("muscle_fat", 1.4 if muscle < 2.5 else 1.0, 0.5),
        muscle_mm=muscle,
        genital_shift_mm=draw.several("genital_shift_mm", (6.0, 4.0)),  # type: ignore[arg-type]
        bulb=draw.normal("bulb", 1.0, 0.13),
        vessel=draw.normal("vessel", 1.0, 0.15),
        bowel_gas=draw.uniform("bowel_gas"),
        bowel_share=draw.uniform("bowel_share"),
        calcifications=draw.count("calcifications", 0.25, 6),
        phleboliths=draw.count("phleboliths", 0.35, 4),
        nodes=draw.count("nodes", 0.2, 5),
        endorectal_coil=draw.rarely("endorectal_coil", RARE, COILS),
        balloon_ml=draw.uniform("balloon_ml"),
        hip_implant=draw.rarely("hip_implant", RARE, SIDES),
    )

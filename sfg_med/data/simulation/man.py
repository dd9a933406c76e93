# SPDX-License-Identifier: Apache-2.0
"""The numbers that make one simulated man different from the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Man:
    """Anatomical parameters; ``population.RANGES`` holds their limits.

    Args:
        scale: size relative to the template along x, y, z.
        warp_mm: standard deviation of the smooth displacement of the whole man.
        fine_warp_mm: the same for a second one of shorter waves.
        tilt_deg: rotation of the pelvis about the axis through the hip joints; positive: the sacrum moves forward.
        turn_deg: rotation of the man in the scanner about y and about z.
        fat_mm: thickness of the subcutaneous fat over the hip.
        belly: thickness of the fat over the abdomen, relative to the hip.
        table_mm: y of the table top that flattens the back.
        head_radius_mm: radius of the femoral head, relative to a man of mean size.
        neck_shaft_deg: angle between neck and shaft of the femur.
        version_deg: angle by which the greater trochanter lies behind the head: anteversion and leg rotation.
        femoral_offset_mm: distance of the shaft's axis from the head's centre along x.
        cortex: factor of the cortical thickness.
        trabecular_hu: CT number that the trabeculae add to the marrow.
        yellow: share of yellow marrow in the pelvic bones.
        prostate_ml: nominal volume of the prostate.
        prostate_shift_mm: offset of the prostate along x, y, z.
        prostate_shape: width and depth relative to a prostate of usual proportions; the volume stays.
        prostate_taper: how much narrower the apex is than the base.
        prostate_skew: how much larger the right half is than the left.
        median_lobe: size of a lobe that bulges into the bladder, 0 for none.
        inner_share: extra size of the transition zone.
        vesicle: factor of the size of the seminal vesicles.
        bladder_ml: nominal volume of the bladder.
        bladder_flat: ratio of height to width of the bladder.
        bladder_shift_mm: offset of the bladder along x and y.
        bladder_dent: how deep bowel presses into the dome, 0 for not at all.
        bladder_rough: irregularity of the bladder's shape.
        ampulla_mm: radius of the rectal ampulla.
        rectal_gas: height of the gas level in the rectum in radii; above 1 there is none, below -1 nothing else.
        rectal_sway: factor of the side to side course of the rectum.
        stool: share of the lumen of the rectum that holds stool rather than mucus.
        floor_mm: half thickness of levator ani and coccygeus.
        floor_gap_mm: distance between levator ani and the organs that it holds.
        plexus: factor of the thickness of the veins around the prostate.
        muscle_fat: amount of fat between and inside the muscles.
        muscle_mm: how much the muscles swell beyond their template; the outline of the body follows.
        genital_shift_mm: offset of the hanging genitals along x and y.
        bulb: factor of the size of the penile bulb and the crura.
        vessel: factor of the calibre of the vessels.
        bowel_gas: amount of gas in the bowel.
        bowel_share: share of the possible bowel loops that are there.
        calcifications: number of calcified spots in the prostate.
        phleboliths: number of calcified spots in pelvic veins.
        nodes: number of enlarged lymph nodes along the iliac vessels.
        endorectal_coil: ``""``, or what the balloon is filled with: ``"gas"`` or ``"perfluorocarbon"``.
        balloon_ml: volume of the coil's balloon.
        hip_implant: ``""``, ``"left"`` or ``"right"``.
    """

    scale: Triple
    warp_mm: float
    fine_warp_mm: float
    tilt_deg: float
    turn_deg: tuple[float, float]
    fat_mm: float
    belly: float
    table_mm: float
    head_radius_mm: float
    neck_shaft_deg: float
    version_deg: float
    femoral_offset_mm: float
    cortex: float
    trabecular_hu: float
    yellow: float
    prostate_ml: float
    prostate_shift_mm: Triple
    prostate_shape: tuple[float, float]
    prostate_taper: float
    prostate_skew: float
    median_lobe: float
    inner_share: float
    vesicle: float
    bladder_ml: float
    bladder_flat: float
    bladder_shift_mm: tuple[float, float]
    bladder_dent: float
    bladder_rough: float
    ampulla_mm: float
    rectal_gas: float
    rectal_sway: float
    stool: float
    floor_mm: float
    floor_gap_mm: float
    plexus: float
    muscle_fat: float
    muscle_mm: float
    genital_shift_mm: tuple[float, float]
    bulb: float
    vessel: float
    bowel_gas: float
    bowel_share: float
    calcifications: int
    phleboliths: int
    nodes: int
    endorectal_coil: str
    balloon_ml: float
    hip_implant: str

    @property
    def mean_scale(self) -> float:
        """Geometric mean of the scale."""
        return float(np.prod(self.scale)) ** (1 / 3)

    def sphere_mm(self, volume_ml: float) -> float:
        """Radius in template coordinates of a sphere that has this volume in the man."""
        return (3000.0 * volume_ml / (4.0 * np.pi)) ** (1 / 3) / self.mean_scale

    @property
    def prostate_radii_mm(self) -> Triple:
        """Semi-axes of the prostate along x, y, z: wider than high, higher than deep.

        A coil's balloon presses it flat: depth -8.6 %, width +4.5 %, height +8.8 % (Osman et al., Radiol Res Pract
        2014:903747; 79 men).
        """
        size = self.sphere_mm(self.prostate_ml)
        wide, deep = self.prostate_shape
        pressed = (1.045, 0.914, 1.088) if self.endorectal_coil else (1.0, 1.0, 1.0)
        high = 0.97 / (wide * deep)
        return 1.17 * size * wide * pressed[0], 0.88 * size * deep * pressed[1], size * high * pressed[2]

    @property
    def prostate_centre_mm(self) -> Triple:
        """Centre of the prostate: behind the symphysis; a large one grows upward and backward."""
        _, depth, height = self.prostate_radii_mm
        dx, dy, dz = self.prostate_shift_mm
        return dx, 25.0 - depth + dy, -40.0 + height + dz

    @property
    def bladder_radii_mm(self) -> Triple:
        """Semi-axes of the bladder along x, y, z; the side walls of the pelvis keep a full one from being wide."""
        cube = self.sphere_mm(self.bladder_ml) ** 3
        wide = float(min((cube / (0.88 * self.bladder_flat)) ** (1 / 3), 55.0))
        return wide, 0.88 * wide, float(cube / (0.88 * wide * wide))

    @property
    def bladder_centre_mm(self) -> Triple:
        """Centre of the bladder: it rests on the prostate, behind the symphysis and the belly wall."""
        px, py, pz = self.prostate_centre_mm
        _, depth, height = self.bladder_radii_mm
        dx, dy = self.bladder_shift_mm
        y = float(np.clip(py + 4.0 + dy, -22.0 + 0.3 * depth, 50.0 - depth))
        return 0.5 * px + dx, y, pz + 0.80 * self.prostate_radii_mm[2] + 0.86 * height

    @property
    def head_radii_mm(self) -> Triple:
        """Semi-axes of the femoral head in template coordinates: a sphere once the man is scaled."""
        x, y, z = (self.head_radius_mm * self.mean_scale / s for s in self.scale)
        return x, y, z

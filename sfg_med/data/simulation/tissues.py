# SPDX-License-Identifier: Apache-2.0
"""Tissues: relaxation times and proton density at 3 T, CT numbers, and the spin-echo equation.

Sources of T1 and T2 at 3 T: muscle, cartilage, nerve, T1 of blood: Stanisz et al., MRM 54:507, 2005.
Prostate as a whole, red marrow: de Bazelaire et al., Radiology 230:652, 2004. Fat and yellow marrow (as
fast spin echo sees them): Gold et al., AJR 183:343, 2004. T2 of the peripheral zone: Simpkin et al., BJR
86:20120469, 2013, and MRM 2011, doi 10.1002/mrm.22874 (149 ms in both). T2 of cortical bone, about 0.4 ms:
PMC3899101. Ranges over studies: Bojorquez et al., MRI 35:69, 2017. CT numbers: compositions of ICRU Report
44 at about 120 kV, as in Schneider et al., Phys Med Biol 41:111, 1996. Everything else (proton densities,
seminal vesicles, testis, bowel, stool and so on) is a choice; docs/explanation/simulation.md marks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sfg_med.data.simulation.noise import Streams


@dataclass(frozen=True)
class Tissue:
    """Physical properties of one tissue.

    Args:
        t1_ms: longitudinal relaxation time at 3 T.
        t2_ms: transverse relaxation time at 3 T.
        density: proton density, water = 1.
        ct_hu: CT number.
    """

    t1_ms: float
    t2_ms: float
    density: float
    ct_hu: float


TISSUES: dict[str, Tissue] = {
    "air": Tissue(1000.0, 1.0, 0.0, -1000.0),
    "gas": Tissue(1000.0, 1.0, 0.0, -960.0),
    "skin": Tissue(1100.0, 38.0, 0.70, 20.0),
    "fat": Tissue(371.0, 133.0, 0.90, -102.0),
    "muscle": Tissue(1412.0, 50.0, 0.80, 56.0),
    "cortical_bone": Tissue(220.0, 0.4, 0.20, 1250.0),
    "yellow_marrow": Tissue(365.0, 133.0, 0.80, -70.0),
    "red_marrow": Tissue(586.0, 49.0, 0.80, 40.0),
    "cartilage": Tissue(1168.0, 40.0, 0.75, 90.0),
    "blood": Tissue(1932.0, 150.0, 0.80, 45.0),
    "flow_void": Tissue(1932.0, 18.0, 0.60, 45.0),
    "nerve": Tissue(1083.0, 78.0, 0.75, 30.0),
    "csf": Tissue(4000.0, 1500.0, 1.00, 10.0),
    "urine": Tissue(3200.0, 1200.0, 1.00, 6.0),
    "bladder_wall": Tissue(1500.0, 58.0, 0.80, 36.0),
    "transition_zone": Tissue(1597.0, 82.0, 0.85, 42.0),
    "peripheral_zone": Tissue(1597.0, 150.0, 0.90, 38.0),
    "stroma": Tissue(1450.0, 55.0, 0.80, 46.0),
    "seminal_vesicle": Tissue(1900.0, 230.0, 0.92, 22.0),
    "testis": Tissue(1700.0, 160.0, 0.92, 30.0),
    "corpora": Tissue(1600.0, 130.0, 0.88, 42.0),
    "gut_wall": Tissue(1400.0, 66.0, 0.80, 42.0),
    "mucosa": Tissue(1500.0, 105.0, 0.85, 38.0),
    "stool": Tissue(900.0, 60.0, 0.60, 30.0),
    "gut_fluid": Tissue(2200.0, 260.0, 0.90, 18.0),
    "metal": Tissue(1000.0, 1.0, 0.0, 8000.0),
    "calcification": Tissue(220.0, 0.4, 0.20, 700.0),
    "perfluorocarbon": Tissue(1000.0, 1.0, 0.0, 650.0),
}
# A tissue's number in a tissue map is its position: append, never reorder.
TISSUE_NAMES: tuple[str, ...] = tuple(TISSUES)
_CONTENTS = ("stool", "gut_fluid", "seminal_vesicle")


def spin_echo(tissue: Tissue, te_ms: float, tr_ms: float) -> float:
    """Spin-echo signal ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``, in units of fully relaxed water."""
    recovered = 1.0 - np.exp(-tr_ms / tissue.t1_ms)
    return float(tissue.density * recovered * np.exp(-te_ms / tissue.t2_ms))


def draw_tissues(streams: Streams) -> dict[str, Tissue]:
    """One man's tissues around the table: T1 by 12 %, T2 by 15 %, proton density by 6 %, CT number by a few HU.

    Half of the men are scanned at a lower field, down to 1.5 T: all T1 times 0.75 to 1. The contents of bowel,
    rectum and seminal vesicles vary by more. The contrast between the zones of the prostate runs from nearly none
    to strong.
    """
    rng = streams("tissues")
    field = float(rng.uniform(0.75, 1.0)) if rng.random() < 0.5 else 1.0
    result = {}
    for name, tissue in TISSUES.items():
        t1, t2, density = np.clip(rng.normal(1.0, (0.12, 0.15, 0.06)), (0.7, 0.65, 0.85), (1.3, 1.35, 1.15))
        if name in _CONTENTS:
            t1, t2 = t1 * rng.uniform(0.5, 1.6), t2 * np.exp(rng.uniform(-0.7, 0.7))
        shift = float(np.clip(rng.normal(0.0, 2.5), -5.0, 5.0))
        ct = tissue.ct_hu if name in ("air", "gas") else tissue.ct_hu + shift
        result[name] = replace(
            tissue,
            t1_ms=float(tissue.t1_ms * t1 * field),
            t2_ms=float(tissue.t2_ms * t2),
            density=float(tissue.density * density),
            ct_hu=ct,
        )
    contrast = float(rng.uniform(0.08, 1.2))
    inner, outer = result["transition_zone"].t2_ms, result["peripheral_zone"].t2_ms
    result["peripheral_zone"] = replace(
        result["peripheral_zone"], t2_ms=float(inner * max(outer / inner, 1.2) ** contrast)
    )
    return result

# SPDX-License-Identifier: Apache-2.0
"""What a user can choose about preparation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sfg_med.errors import SfgMedError
from sfg_med.preparation.inputs import CT, MR, ROLES
from sfg_med.preparation.registration import ENGINES, KINDS


@dataclass(frozen=True)
class Options:
    """Choices that a prepared case depends on; a dataset has one set of them.

    Args:
        require: roles without which a case is dropped.
        seg_on: whether organs were drawn on the ``mr`` or on the ``ct``, with which they then move.
        spacing_mm: voxel size of the dataset; ``None`` is each MR's own.
        n4: correct the MR's bias field.
        registration: ``none``, ``rigid`` or ``deformable``.
        engine: ``auto`` (elastix if it is installed), ``elastix`` or ``simpleitk``.
        couch: keep what lies outside the body in the CT.
    """

    require: tuple[str, ...] = (MR, CT)
    seg_on: str = MR
    spacing_mm: tuple[float, ...] | None = None
    n4: bool = True
    registration: str = "deformable"
    engine: str = "auto"
    couch: bool = False

    def __post_init__(self) -> None:
        _one_of("--registration", self.registration, KINDS)
        _one_of("--engine", self.engine, ENGINES)
        _one_of("--seg-on", self.seg_on, (MR, CT))
        for role in self.require:
            _one_of("--require", role, ROLES)
        if MR not in self.require:
            raise SfgMedError("--require", "mr among the roles", ",".join(self.require), "every case needs an MR")
        if self.spacing_mm is not None and not all(0.2 <= s <= 20 for s in self.spacing_mm):
            raise SfgMedError("--spacing", "voxel sizes of 0.2 to 20 mm", str(self.spacing_mm), "correct it")

    def facts(self) -> dict[str, Any]:
        """As JSON has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _one_of(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise SfgMedError(where, " or ".join(known), repr(value), "choose one of them")

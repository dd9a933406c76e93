# SPDX-License-Identifier: Apache-2.0
"""One interface to the programs that register."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import Protocol

import SimpleITK as sitk  # noqa: N813

from sfg_med.errors import SfgMedError
from sfg_med.preparation.images import Image

AUTO = "auto"
ENGINES = (AUTO, "elastix", "simpleitk")


class Engine(Protocol):
    """Maximises mutual information of two float32 images.

    Every result maps a point of the fixed image to one of the moving image, in LPS mm. What is sampled at random is
    drawn from a fixed seed: with one thread the same input gives the same result (with several, sums round otherwise).
    """

    name: str

    def rigid(self, fixed: Image, moving: Image, mask: Image, start: sitk.Transform) -> sitk.Transform:
        """Rotation and translation, from a start.

        Args:
            fixed: the MR.
            moving: the CT.
            mask: uint8, where in the fixed image to look.
            start: a translation.
        """

    def deformable(self, fixed: Image, moving: Image, mask: Image, there: Image) -> sitk.Transform:
        """A smooth deformation by cubic B-splines; arguments as of :meth:`rigid`, ``moving`` being near already.

        Args:
            there: uint8, where in ``moving`` something was scanned.
        """


def choose_engine(name: str) -> Engine:
    """The engine of a name; ``auto`` is SimpleITK, which is always there.

    Raises:
        SfgMedError: for an unknown or missing one.
    """
    if name not in ENGINES:
        raise SfgMedError("--engine", " or ".join(ENGINES), repr(name), "choose one of them")
    if name == "elastix" and importlib.util.find_spec("itk.ElastixPython") is None:
        raise SfgMedError("--engine", "itk-elastix", "it is not installed", "pip install 'sfg-med[registration]'")
    if name == "elastix":
        from sfg_med.preparation.registration.elastix import ElastixEngine

        return ElastixEngine()
    from sfg_med.preparation.registration.simpleitk import SimpleItkEngine

    return SimpleItkEngine()


def engine_version(engine: Engine) -> str:
    """Version of the package behind an engine."""
    return version({"elastix": "itk-elastix", "simpleitk": "SimpleITK"}[engine.name])

# SPDX-License-Identifier: Apache-2.0
"""One interface to the programs that deform."""

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
    """Maximises mutual information of two images that are near each other already.

    What is sampled at random is drawn from a fixed seed: with one thread the same input gives the same result (with
    several, sums round otherwise).
    """

    name: str

    def deformable(self, fixed: Image, moving: Image, mask: Image, there: Image) -> sitk.Transform:
        """A smooth deformation: point of the fixed image to point of the moving one, LPS mm.

        Args:
            fixed: the MR, float32.
            moving: the CT, float32.
            mask: uint8, where in the fixed image to look.
            there: uint8, where in ``moving`` something was scanned.
        """


def choose_engine(name: str) -> Engine:
    """The engine of a name; ``auto`` is elastix where it is installed, else SimpleITK.

    Raises:
        SfgMedError: for an unknown or missing one.
    """
    if name not in ENGINES:
        raise SfgMedError("--engine", " or ".join(ENGINES), repr(name), "choose one of them")
    elastix = importlib.util.find_spec("itk.ElastixPython") is not None
    if name == "elastix" and not elastix:
        raise SfgMedError("--engine", "itk-elastix", "it is not installed", "pip install 'sfg-med[registration]'")
    if elastix and name != "simpleitk":
        from sfg_med.preparation.registration.elastix import ElastixEngine

        return ElastixEngine()
    from sfg_med.preparation.registration.simpleitk import SimpleItkEngine

    return SimpleItkEngine()


def engine_version(engine: Engine) -> str:
    """Version of the package behind an engine."""
    return version({"elastix": "itk-elastix", "simpleitk": "SimpleITK"}[engine.name])

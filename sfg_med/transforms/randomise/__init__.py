# SPDX-License-Identifier: Apache-2.0
"""Domain randomisation: what MR scanners, protocols and coils do to an image, drawn at random while training.

A network that has met every contrast, resolution, artefact and field of view need not care which one it meets (Billot
et al., SynthSeg, Medical Image Analysis 86:102789, 2023). MONAI has transforms for bias fields, gamma, histogram
shifts, Gibbs ringing, blur and noise; here is what it lacks. All expect magnitude images: signal from 0 upward.
"""

from sfg_med.transforms.randomise.contrast import RandTissueContrastd
from sfg_med.transforms.randomise.field_of_view import RandFieldOfViewd
from sfg_med.transforms.randomise.magnitude import ToMagnituded
from sfg_med.transforms.randomise.motion import RandGhostingd, RandMotiond
from sfg_med.transforms.randomise.rescan import Rescan
from sfg_med.transforms.randomise.resolution import RandResolutiond
from sfg_med.transforms.randomise.scan import RandScand
from sfg_med.transforms.randomise.shading import RandCoilShadingd

__all__ = [
    "RandCoilShadingd",
    "RandFieldOfViewd",
    "RandGhostingd",
    "RandMotiond",
    "RandResolutiond",
    "RandScand",
    "RandTissueContrastd",
    "Rescan",
    "ToMagnituded",
]

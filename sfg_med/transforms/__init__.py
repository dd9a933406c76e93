# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms of the project."""

from sfg_med.transforms.crop import random_crop
from sfg_med.transforms.flip import RandLeftRightFlipd
from sfg_med.transforms.normalize import NormalizeInput, NormalizeInputd
from sfg_med.transforms.outputs import DecodeTasksd, SaveTasksd, SplitTasksd, decode
from sfg_med.transforms.patch import RandAffinePatchd
from sfg_med.transforms.pipeline import case_items, deterministic_transforms, network_input
from sfg_med.transforms.read import ReadCased
from sfg_med.transforms.spacing import StableSpacing, StableSpacingd, steady_affine
from sfg_med.transforms.targets import EncodeTargetsd
from sfg_med.transforms.whole_image import EncodePictured, decode_value

__all__ = [
    "DecodeTasksd",
    "EncodePictured",
    "EncodeTargetsd",
    "NormalizeInput",
    "NormalizeInputd",
    "RandAffinePatchd",
    "RandLeftRightFlipd",
    "ReadCased",
    "SaveTasksd",
    "SplitTasksd",
    "StableSpacing",
    "StableSpacingd",
    "case_items",
    "decode",
    "decode_value",
    "deterministic_transforms",
    "network_input",
    "random_crop",
    "steady_affine",
]

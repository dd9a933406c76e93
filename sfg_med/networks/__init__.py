# SPDX-License-Identifier: Apache-2.0
"""Networks built from sharing layers."""

from sfg_med.networks.factory import NETWORKS, build_network
from sfg_med.networks.highresnet import SFGHighResNet
from sfg_med.networks.multitask import LOG_VARIANCE, MultiTaskNetwork
from sfg_med.networks.norms import norms_over_processes
from sfg_med.networks.unet import SFGUNet
from sfg_med.networks.vgg import SFGVGG

__all__ = [
    "LOG_VARIANCE",
    "NETWORKS",
    "SFGVGG",
    "MultiTaskNetwork",
    "SFGHighResNet",
    "SFGUNet",
    "build_network",
    "norms_over_processes",
]

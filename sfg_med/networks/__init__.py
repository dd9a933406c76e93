# SPDX-License-Identifier: Apache-2.0
"""Networks built from sharing layers."""

from sfg_med.networks.factory import NETWORKS, build_network
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.networks.unet import SFGUNet

__all__ = ["NETWORKS", "MultiTaskNetwork", "SFGUNet", "build_network"]

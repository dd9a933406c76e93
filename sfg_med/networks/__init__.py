# SPDX-License-Identifier: Apache-2.0
"""Networks built from sharing layers."""

from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.networks.unet import SFGUNet

__all__ = ["MultiTaskNetwork", "SFGUNet"]

# SPDX-License-Identifier: Apache-2.0
"""The two scanners: what makes images out of MR signal and CT numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sfg_med.data.simulation.noise import Array, Streams, smooth_noise

Axes = Sequence[NDArray[np.floating]]


@dataclass(frozen=True)
class Protocol:
    """How one man was scanned.

    Args:
        te_ms: echo time.
        tr_ms: repetition time.
        mr_noise: standard deviation of the noise in each MR channel, in units of the fat signal.
        mr_gain: scanner units of the fat signal.
        bias: standard deviation of the logarithm of the MR bias field.
        ct_noise_hu: standard deviation of the CT noise.
        ct_psf_mm: full width at half maximum of the CT blur.
    """

    te_ms: float
    tr_ms: float
    mr_noise: float
    mr_gain: float
    bias: float
    ct_noise_hu: float
    ct_psf_mm: float


def draw_protocol(streams: Streams) -> Protocol:
    """Draw scan parameters: T2-weighted fast spin echo and a planning CT."""
    rng = streams("protocol")
    return Protocol(
        te_ms=float(rng.uniform(70, 140)),
        tr_ms=float(np.exp(rng.uniform(np.log(2000), np.log(8000)))),
        mr_noise=float(np.exp(rng.uniform(np.log(0.005), np.log(0.05)))),
        mr_gain=float(np.exp(rng.uniform(np.log(400), np.log(1500)))),
        bias=float(rng.uniform(0.05, 0.25)),
        ct_noise_hu=float(rng.uniform(7, 14)),
        ct_psf_mm=float(rng.uniform(1.2, 2.2)),
    )


def acquire_mr(signal: Array, axes_mm: Axes, streams: Streams, protocol: Protocol) -> NDArray[np.int16]:
    """Shade, scale and add Rician noise: the magnitude of a complex image, Gaussian noise in both channels.

    Args:
        signal: spin-echo signal relative to the man's fat.
        axes_mm: voxel positions, for the bias field.
        streams: the man's random streams.
        protocol: how he was scanned.
    """
    field = np.exp(np.float32(protocol.bias) * smooth_noise(streams("bias"), axes_mm, 150.0))
    sigma = np.float32(protocol.mr_noise * protocol.mr_gain)
    rng = streams("mr noise")
    real = signal * field * np.float32(protocol.mr_gain) + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(np.rint(np.hypot(real, imaginary)), 0, 32767).astype(np.int16)


def acquire_ct(hu: Array, spacing_mm: Sequence[float], streams: Streams, protocol: Protocol) -> NDArray[np.int16]:
    """Blur by the point spread function, add correlated noise (less in air), clip to the scanner's range."""
    sigma = [protocol.ct_psf_mm / 2.355 / s for s in spacing_mm]
    blurred = gaussian_filter(hu, sigma, mode="nearest")
    white = streams("ct noise").standard_normal(hu.shape, dtype=np.float32)
    grain = gaussian_filter(white, 0.5)
    grain *= np.float32(protocol.ct_noise_hu / max(float(grain.std()), 1e-6))
    blurred += grain * np.clip((blurred + 1300) / 1300, 0.25, 1.0)
    return np.clip(np.rint(blurred), -1024, 3000).astype(np.int16)

# SPDX-License-Identifier: Apache-2.0
"""The two scanners: what makes images out of MR signal and CT numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sfg_med.data.simulation.noise import Array, Streams
from sfg_med.data.simulation.space import Space


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
    """Draw scan parameters: T2-weighted fast spin echo at 3 T and a planning CT."""
    rng = streams("protocol")
    return Protocol(
        te_ms=float(rng.uniform(80, 110)),
        tr_ms=float(rng.uniform(2500, 5000)),
        mr_noise=float(rng.uniform(0.014, 0.03)),
        mr_gain=float(np.exp(rng.uniform(np.log(400), np.log(1500)))),
        bias=float(rng.uniform(0.05, 0.13)),
        ct_noise_hu=float(rng.uniform(7, 14)),
        ct_psf_mm=float(rng.uniform(1.2, 2.2)),
    )


def acquire_mr(signal: Array, space: Space, protocol: Protocol, fat_signal: float) -> NDArray[np.int16]:
    """Shade, scale and add Rician noise: the magnitude of a complex image with Gaussian noise in both channels."""
    field = np.exp(np.float32(protocol.bias) * space.noise("bias", 150.0))
    unit = np.float32(protocol.mr_gain / fat_signal)
    sigma = np.float32(protocol.mr_noise * protocol.mr_gain)
    rng = space.streams("mr noise")
    real = signal * field * unit + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(np.rint(np.hypot(real, imaginary)), 0, 32767).astype(np.int16)


def acquire_ct(
    hu: Array, space: Space, protocol: Protocol, spacing_mm: tuple[float, ...]
) -> NDArray[np.int16]:
    """Blur by the point spread function, add correlated noise (less in air), clip to the scanner's range."""
    sigma = [protocol.ct_psf_mm / 2.355 / s for s in spacing_mm]
    blurred = gaussian_filter(hu, sigma, mode="nearest")
    white = space.streams("ct noise").standard_normal(hu.shape, dtype=np.float32)
    grain = gaussian_filter(white, 0.5)
    grain *= np.float32(protocol.ct_noise_hu / max(float(grain.std()), 1e-6))
    blurred += grain * np.clip((blurred + 1300) / 1300, 0.25, 1.0)
    return np.clip(np.rint(blurred), -1024, 3000).astype(np.int16)

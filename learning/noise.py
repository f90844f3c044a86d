# SPDX-License-Identifier: MIT
"""Exploration noise that stays long enough to move a robot.

White noise at 50 Hz is mostly gone after a 5 Hz action filter, and a leg that trembles finds no
gait. Coloured noise keeps the Gaussian that SAC's policy asks for at each step and correlates it in
time: its power falls with frequency as 1/f^beta (Timmer and Koenig 1995). Pink noise, beta = 1,
is a good default for off-policy learning (Eberhard et al. 2023, "Pink Noise Is All You Need").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def coloured_noise(
    rng: np.random.Generator, steps: int, size: int, beta: float
) -> npt.NDArray[np.float64]:
    """Unit-variance Gaussian sequences with power proportional to 1/f^beta.

    Args:
        rng: where the draw comes from.
        steps: length of the sequence.
        size: how many independent sequences.
        beta: 0 white, 1 pink, 2 red.

    Returns:
        (steps, size) float64.

    Raises:
        ValueError: fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"coloured noise needs at least two steps, got {steps}")
    if beta == 0.0:
        return rng.standard_normal((steps, size))
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]  # the mean gets the power of the slowest oscillation
    amplitude = frequency ** (-beta / 2.0)
    shape = (len(frequency), size)
    spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    spectrum[0] = spectrum[0].real * np.sqrt(2.0)  # a real signal has no phase at 0 and Nyquist
    weights = np.full(len(frequency), 2.0)
    weights[0] = 1.0
    if steps % 2 == 0:
        spectrum[-1] = spectrum[-1].real * np.sqrt(2.0)
        weights[-1] = 1.0
    # Parseval: the variance over draws of each sample.
    sigma = np.sqrt(2.0 * np.sum(weights * amplitude**2)) / steps
    out = np.fft.irfft(spectrum * amplitude[:, None], n=steps, axis=0) / sigma
    return np.asarray(out, dtype=np.float64)

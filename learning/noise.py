# SPDX-License-Identifier: MIT
"""Exploration noise that is correlated in time.

A 5 Hz action filter removes most of white noise at 50 Hz, so a robot that explores with it hardly
moves. Coloured noise is Gaussian at each step, as SAC's policy requires, but its power falls with
frequency as 1/f^beta (Timmer and Koenig 1995). Pink noise, beta = 1, is a good default for
off-policy learning (Eberhard et al. 2023, "Pink Noise Is All You Need").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def coloured_noise(
    rng: np.random.Generator, steps: int, size: int, beta: float
) -> npt.NDArray[np.float64]:
    """Unit-variance Gaussian sequences with power proportional to 1/f^beta.

    Args:
        rng: Random numbers.
        steps: Length of the sequences.
        size: Number of independent sequences.
        beta: Exponent: 0 is white, 1 pink, 2 red noise.

    Returns:
        (steps, size) float64.

    Raises:
        ValueError: There are fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"coloured noise needs at least two steps, got {steps}")
    if beta == 0.0:
        return rng.standard_normal((steps, size))
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]  # f = 0 gets the power of the lowest frequency
    amplitude = frequency ** (-beta / 2.0)
    shape = (len(frequency), size)
    spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    spectrum[0] = spectrum[0].real * np.sqrt(2.0)  # real at f = 0 and at the Nyquist frequency
    weights = np.full(len(frequency), 2.0)
    weights[0] = 1.0
    if steps % 2 == 0:
        spectrum[-1] = spectrum[-1].real * np.sqrt(2.0)
        weights[-1] = 1.0
    # Standard deviation of each sample over draws (Parseval).
    sigma = np.sqrt(2.0 * np.sum(weights * amplitude**2)) / steps
    out = np.fft.irfft(spectrum * amplitude[:, None], n=steps, axis=0) / sigma
    return np.asarray(out, dtype=np.float64)

# SPDX-License-Identifier: MIT
"""Coloured noise: unit variance at every step, and the requested spectrum."""

import numpy as np
import pytest

from walkhome.learning.noise import coloured_noise


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("steps", [200, 201])
def test_every_sample_has_unit_variance(beta, steps):
    rng = np.random.default_rng(0)
    draws = np.stack([coloured_noise(rng, steps, 8, beta) for _ in range(300)])
    assert np.abs(draws.var(axis=(0, 2)) - 1.0).max() < 0.15
    assert abs(draws.mean()) < 0.05


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_power_falls_as_asked(beta):
    rng = np.random.default_rng(1)
    draws = np.stack([coloured_noise(rng, 256, 1, beta)[:, 0] for _ in range(2000)])
    power = (np.abs(np.fft.rfft(draws, axis=1)) ** 2).mean(0)
    frequency = np.fft.rfftfreq(256)
    slope = np.polyfit(np.log(frequency[2:-2]), np.log(power[2:-2]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.1)


def test_a_seed_repeats_it_and_one_step_is_refused():
    draws = [coloured_noise(np.random.default_rng(3), 50, 8, 1.0) for _ in range(2)]
    assert np.array_equal(*draws)
    with pytest.raises(ValueError, match="two steps"):
        coloured_noise(np.random.default_rng(0), 1, 8, 1.0)

# SPDX-License-Identifier: MIT
"""Numbers drawn ahead equal those of one draw per reading, also after resuming anywhere."""

import json

import numpy as np
import pytest

from walkhome.sim.sensor_noise import SensorNoise


def taken(noise, readings):
    return [noise.next() for _ in range(readings)]


def test_the_stream_is_that_of_one_draw_a_reading():
    rng = np.random.default_rng(3)
    expected = [rng.standard_normal(31).tolist() for _ in range(50)]
    assert taken(SensorNoise(31, seed=3), 50) == expected


@pytest.mark.parametrize("readings", [0, 1, 15, 16, 17, 40])
def test_a_resume_goes_on_where_it_was(readings):
    noise = SensorNoise(31, seed=5)
    taken(noise, readings)
    state = json.loads(json.dumps(noise.state_dict()))
    other = SensorNoise(31, seed=6)
    taken(other, 7)
    other.load_state_dict(state)
    assert taken(other, 40) == taken(noise, 40)


def test_a_state_of_before_numbers_were_drawn_ahead_still_loads():
    rng = np.random.default_rng(5)
    rng.standard_normal(31)
    noise = SensorNoise(31, seed=6)
    noise.load_state_dict({"rng": rng.bit_generator.state})
    assert taken(noise, 3) == [rng.standard_normal(31).tolist() for _ in range(3)]

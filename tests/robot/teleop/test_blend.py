# SPDX-License-Identifier: MIT
"""Hand-over between gaits: always a mean, never faster than asked, always complete in time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.teleop.blend import Blend, mean_action

NAMES = ("stand", "forward", "backward", "left", "right")
targets = st.lists(st.sampled_from(NAMES), min_size=1, max_size=60)


@given(targets, st.floats(0.02, 0.5), st.floats(0.01, 0.05))
def test_weights_are_a_mean_and_move_slowly(wanted, duration_s, period_s):
    blend = Blend(NAMES, "stand", duration_s, period_s)
    before = {"stand": 1.0}
    for name in wanted:
        after = blend.step(name)
        assert all(weight > 0.0 for weight in after.values())
        assert math.isclose(sum(after.values()), 1.0, abs_tol=1e-6)
        largest = max(abs(after.get(n, 0.0) - before.get(n, 0.0)) for n in NAMES)
        assert largest <= min(1.0, period_s / duration_s) + 1e-6
        before = dict(after)


@given(targets, st.sampled_from(NAMES), st.floats(0.02, 0.5), st.floats(0.01, 0.05))
def test_a_hand_over_is_complete_in_time_from_any_weights(wanted, last, duration_s, period_s):
    blend = Blend(NAMES, "stand", duration_s, period_s)
    for name in wanted:
        blend.step(name)
    for _ in range(math.ceil(duration_s / period_s + 1e-9)):
        weights = blend.step(last)
    assert weights[last] > 1.0 - 1e-6


@given(st.lists(st.floats(-1, 1), min_size=40, max_size=40), targets)
def test_a_mean_of_actions_stays_in_their_range(numbers, wanted):
    actions = dict(zip(NAMES, np.array(numbers).reshape(5, 8), strict=True))
    blend = Blend(NAMES, "stand", 0.3, 0.02)
    table = np.array(list(actions.values()))
    for name in wanted:
        action = mean_action(blend.step(name), actions)
        assert (action <= table.max(axis=0) + 1e-6).all()
        assert (action >= table.min(axis=0) - 1e-6).all()


def test_reset_gives_all_the_weight_at_once():
    blend = Blend(NAMES, "stand", 0.3, 0.02)
    blend.step("left")
    blend.reset("right")
    assert blend.step("right") == {"right": 1.0}


@pytest.mark.parametrize(("start", "duration_s"), [("lift", 0.3), ("stand", 0.0)])
def test_what_makes_no_sense_is_refused(start, duration_s):
    with pytest.raises(ValueError):
        Blend(NAMES, start, duration_s, 0.02)

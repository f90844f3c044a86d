# SPDX-License-Identifier: MIT
"""Hand-over between gaits: a weighted mean, limited rate, complete in time, opposites apart."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.robot.config.sections import OPPOSITE
from walkhome.robot.teleop.blend import Blend, mean_action

NAMES = ("stand", "forward", "backward", "left", "right")
targets = st.lists(st.sampled_from(NAMES), min_size=1, max_size=60)


@given(targets, st.floats(0.02, 0.5), st.floats(0.01, 0.05))
def test_weights_sum_to_one_and_change_at_a_limited_rate(wanted, duration_s, period_s):
    blend = Blend(NAMES, "stand", duration_s, period_s, OPPOSITE)
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
    blend = Blend(NAMES, "stand", duration_s, period_s, OPPOSITE)
    for name in wanted:
        blend.step(name)
    periods = math.ceil(duration_s / period_s + 1e-9)
    opposite_moves = wanted and blend.step(wanted[-1]).get(OPPOSITE.get(last, ""), 0.0) > 0.0
    for _ in range(2 * periods if opposite_moves else periods):
        weights = blend.step(last)
    assert weights[last] > 1.0 - 1e-6


@given(targets, st.floats(0.02, 0.5), st.floats(0.01, 0.05))
def test_opposite_gaits_never_have_a_weight_together(wanted, duration_s, period_s):
    blend = Blend(NAMES, "stand", duration_s, period_s, OPPOSITE)
    for name in wanted:
        weights = blend.step(name)
        assert not any(OPPOSITE.get(other) in weights for other in weights)


def test_between_opposites_the_robot_stands():
    blend = Blend(NAMES, "stand", 0.5, 0.02, OPPOSITE)
    for _ in range(25):
        blend.step("backward")
    stood = [blend.step("forward").get("stand", 0.0) for _ in range(50)]
    assert stood[24] == 1.0
    assert stood[:25] == sorted(stood[:25])
    assert blend.step("forward") == {"forward": 1.0}


def test_a_gait_without_an_opposite_begins_at_once():
    blend = Blend(("stand", "forward", "left"), "stand", 0.3, 0.02, OPPOSITE)
    blend.reset("left")
    assert blend.step("forward")["forward"] > 0.0


@given(st.lists(st.floats(-1, 1), min_size=40, max_size=40), targets)
def test_a_mean_of_actions_stays_in_their_range(numbers, wanted):
    actions = dict(zip(NAMES, np.array(numbers).reshape(5, 8), strict=True))
    blend = Blend(NAMES, "stand", 0.3, 0.02, OPPOSITE)
    table = np.array(list(actions.values()))
    for name in wanted:
        action = mean_action(blend.step(name), actions)
        assert (action <= table.max(axis=0) + 1e-6).all()
        assert (action >= table.min(axis=0) - 1e-6).all()


def test_reset_gives_all_the_weight_at_once():
    blend = Blend(NAMES, "stand", 0.3, 0.02, OPPOSITE)
    blend.step("left")
    blend.reset("right")
    assert blend.step("right") == {"right": 1.0}


@pytest.mark.parametrize(("start", "duration_s"), [("lift", 0.3), ("stand", 0.0)])
def test_an_unknown_start_or_no_duration_is_refused(start, duration_s):
    with pytest.raises(ValueError):
        Blend(NAMES, start, duration_s, 0.02, OPPOSITE)

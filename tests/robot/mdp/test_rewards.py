# SPDX-License-Identifier: MIT
"""Reward: signs, frames, linearity, and what a relabelled transition earns."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.robot.config.sections import RewardConfig
from walkhome.robot.mdp.rewards import TASKS, motion, reward_features, reward_weights

FOUR = ("forward", "backward", "left", "right")
CALM = RewardConfig(
    linear_scale=2.0,
    angular_scale=3.0,
    smoothness_weight=0.5,
    side_penalty=0.0,
    turn_penalty=0.0,
    lean_penalty=0.0,
)
numbers = st.floats(-2, 2)
STILL = (np.zeros(8), np.zeros(8), np.zeros(8))


def test_every_task_has_its_opposite():
    for task in TASKS.values():
        other = TASKS[task.opposite]
        assert other.opposite == task.name
        assert np.allclose(np.add(task.direction, other.direction), 0.0)


@given(st.floats(-3, 3), numbers, numbers, st.floats(-3, 3))
def test_motion_is_the_same_in_every_heading(yaw, forward, side, turn):
    period = 0.02
    c, s = math.cos(yaw), math.sin(yaw)
    before = (1.0, -2.0, yaw)
    after = (
        1.0 + period * (c * forward - s * side),
        -2.0 + period * (s * forward + c * side),
        yaw + period * turn,
    )
    assert motion(before, after, yaw, period) == pytest.approx((forward, side, turn), abs=1e-8)


def test_a_turn_across_pi_is_small():
    assert motion((0, 0, 3.13), (0, 0, -3.13), 0.0, 0.02)[2] == pytest.approx(
        (2 * math.pi - 6.26) / 0.02
    )


@given(numbers, numbers, numbers)
def test_opposite_tasks_earn_opposite_rewards_for_motion(v_x, v_y, turn):
    rewards = reward_features((v_x, v_y, turn), STILL) @ reward_weights(FOUR, CALM)
    assert rewards[0] == pytest.approx(2.0 * v_x)
    assert rewards[0] == pytest.approx(-rewards[1])
    assert rewards[2] == pytest.approx(3.0 * turn)
    assert rewards[2] == pytest.approx(-rewards[3])


@given(st.lists(numbers, min_size=24, max_size=24))
def test_the_smoothness_penalty_is_the_squared_second_difference(values):
    a, b, c = np.reshape(values, (3, 8))
    rewards = reward_features((0.0, 0.0, 0.0), (a, b, c)) @ reward_weights(FOUR, CALM)
    expected = -0.5 * sum((x - 2 * y + z) ** 2 for x, y, z in zip(a, b, c, strict=True))
    assert rewards == pytest.approx([expected] * 4)


def test_penalties_beside_the_task_only_cost():
    config = RewardConfig(side_penalty=0.7, turn_penalty=0.9)
    weights = reward_weights(FOUR, config)
    turning = reward_features((0.0, 0.0, -1.0), STILL) @ weights
    plain = reward_features((0.0, 0.0, -1.0), STILL) @ reward_weights(FOUR, RewardConfig())
    assert turning[0] - plain[0] == pytest.approx(-0.9 + RewardConfig().turn_penalty)
    assert turning[2] == pytest.approx(plain[2])


def test_only_legs_of_a_side_that_lean_together_pay():
    weights = reward_weights(FOUR, RewardConfig(lean_penalty=3.0, smoothness_weight=0.0))

    def earned(swing):
        action = np.array([*swing, 0.0, 0.0, 0.0, 0.0])
        return reward_features((0.0, 0.0, 0.0), (action, action, action)) @ weights

    assert earned((0.8, -0.8, -0.8, 0.8)) == pytest.approx([0.0] * 4)  # trot
    assert earned((0.8, -0.8, 0.8, -0.8)) == pytest.approx([0.0] * 4)  # bound
    assert earned((0.5, 0.5, 0.5, 0.5)) == pytest.approx([-3.0 * 0.25] * 4)

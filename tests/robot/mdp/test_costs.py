# SPDX-License-Identifier: MIT
"""Costs of the constraints: excess over the limits, the paper's margin, and their scale."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.robot.config.sections import ConstraintConfig
from walkhome.robot.mdp.costs import (
    NAMES,
    attitude_costs,
    attitude_margin,
    cost_scale,
    n_constraints,
    step_costs,
)

angles = st.floats(-4.0, 4.0)
LIMITS = {"pitch_limit_rad": math.pi / 12, "roll_limit_rad": math.pi / 6}


@given(roll=angles, pitch=angles)
def test_margin_is_negative_exactly_when_a_cost_is_positive(roll, pitch):
    costs = attitude_costs(roll_rad=roll, pitch_rad=pitch, **LIMITS)
    assert costs.shape == (2,)
    assert (costs >= 0).all()
    margin = attitude_margin(roll_rad=roll, pitch_rad=pitch, **LIMITS)
    assert (margin < 0) == bool((costs > 0).any())


def test_costs_in_their_order_and_vectorised():
    roll = np.array([0.0, 0.6, 0.0])
    pitch = np.array([0.1, 0.0, -0.4])
    assert NAMES == ("pitch", "roll")
    expected = [[0.0, 0.0], [0.0, 0.6 - math.pi / 6], [0.4 - math.pi / 12, 0.0]]
    costs = attitude_costs(roll_rad=roll, pitch_rad=pitch, **LIMITS)
    np.testing.assert_allclose(costs, expected)
    np.testing.assert_allclose(
        attitude_margin(roll_rad=roll, pitch_rad=pitch, **LIMITS),
        [math.pi / 12 - 0.1, math.pi / 6 - 0.6, math.pi / 12 - 0.4],
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_attitude_that_is_not_finite_is_the_worst(bad):
    assert attitude_costs(roll_rad=bad, pitch_rad=0.0, **LIMITS)[1] > 2.0
    assert attitude_costs(roll_rad=0.0, pitch_rad=bad, **LIMITS)[0] > 2.0
    assert attitude_margin(roll_rad=0.0, pitch_rad=bad, **LIMITS) < 0
    assert attitude_margin(roll_rad=bad, pitch_rad=0.0, **LIMITS) < 0


@pytest.mark.parametrize("form", ["vector", "margin"])
def test_both_forms_give_as_many_costs_as_there_are_constraints(form):
    constraint = ConstraintConfig(form=form)
    costs = step_costs(roll_rad=0.6, pitch_rad=0.0, constraint=constraint)
    assert costs.shape == (n_constraints(constraint),)
    assert costs[-1] == pytest.approx(0.6 - math.pi / 6)


@pytest.mark.parametrize("fell", [False, True])
def test_one_budget_is_a_cost_of_one(fell):
    constraint = ConstraintConfig(budget=0.02, after_fall="ignored")
    assert cost_scale(constraint, 0.97, fell) * 0.02 == pytest.approx(1.0)


def test_a_fall_that_counts_costs_what_an_absorbing_state_costs():
    constraint = ConstraintConfig(after_fall="counted")
    assert cost_scale(constraint, 0.9) == pytest.approx(100.0)
    endless = sum(0.9**step * cost_scale(constraint, 0.9) for step in range(500))
    assert cost_scale(constraint, 0.9, fell=True) == pytest.approx(endless)

# SPDX-License-Identifier: MIT
"""From a configuration to what the learner is told."""

import pytest

from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.training.learner_factory import cost_scale, make_learner


def config_of(*sets):
    return resolve_config(overrides=list(sets)).config


def test_multipliers_are_what_the_configuration_says():
    sets = ["constraint.lambda_min=1.5", "learning.hidden_sizes=[8, 8]"]
    slow, quick = (
        make_learner(config_of(*sets, f"constraint.growth={growth}")) for growth in (0.0, 0.5)
    )
    assert slow.multipliers("forward").tolist() == [1.5, 1.5]
    for learner in (slow, quick):
        learner.end_episode("forward", [2.0, 0.0])
    assert 1.5 < slow.multipliers("forward")[0] < quick.multipliers("forward")[0]
    assert slow.multipliers("forward")[1] == 1.5


@pytest.mark.parametrize("fell", [False, True])
def test_one_budget_is_a_cost_of_one(fell):
    config = config_of("constraint.budget=0.02", "constraint.after_fall=ignored")
    assert cost_scale(config, fell) * 0.02 == pytest.approx(1.0)


def test_a_fall_that_counts_costs_what_an_endless_one_would():
    config = config_of("constraint.after_fall=counted", "learning.cost_discount=0.9")
    assert cost_scale(config) == pytest.approx(100.0)
    endless = sum(0.9**step * cost_scale(config) for step in range(500))
    assert cost_scale(config, fell=True) == pytest.approx(endless)

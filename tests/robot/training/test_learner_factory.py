# SPDX-License-Identifier: MIT
"""From a configuration to what the learner is told."""

from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.training.learner_factory import make_learner


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

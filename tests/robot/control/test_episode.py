# SPDX-License-Identifier: MIT
"""One roll-out: what is counted of it."""

import numpy as np
import pytest

from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.episode import Episodes
from walkhome.robot.control.twin_plant import make_twin

# A tenth of a radian counts as a fall: it leans as much soon after it swings its legs.
FRAIL = (
    "episode.fall_pitch_rad=0.1",
    "episode.fall_roll_rad=0.1",
    "constraint.pitch_limit_rad=0.02",
    "constraint.roll_limit_rad=0.02",
)


def roll_out(*sets, action=1.0):
    """Every step of a roll-out of at most 1 s under one action, and what came of it."""
    config = resolve_config(overrides=["episode.length_s=1.0", *sets]).config
    rig, steps = make_twin(config, 0), []
    try:
        act = np.array([action, action, -action, -action, *(0.0,) * 4])
        episode = Episodes.of(config, rig).episode("forward", lambda observation: act)
        cycle = ControlCycle(rig, config.episode, lambda period: steps.append(period.step))
        result = cycle.run(episode)
    finally:
        rig.robot.close()
    return steps, result


@pytest.mark.parametrize("after_fall", ["ignored", "counted"])
def test_a_fall_counts_for_the_rest_of_the_roll_out_where_asked(after_fall):
    steps, result = roll_out(*FRAIL, f"constraint.after_fall={after_fall}")
    assert result.ended == "fall"
    assert len(steps) < 50
    costs = np.array([step.costs for step in steps])
    assert costs[-1].max() > 0.05
    np.testing.assert_allclose(result.mean_costs, costs.mean(axis=0))
    whole = np.vstack([costs, np.tile(costs[-1], (50 - len(steps), 1))])
    expected = whole if after_fall == "counted" else costs
    np.testing.assert_allclose(result.counted_costs, expected.mean(axis=0))


def test_a_roll_out_without_a_fall_costs_its_mean():
    sets = ["constraint.pitch_limit_rad=0.001", "constraint.after_fall=counted"]
    steps, result = roll_out(*sets, action=0.1)
    assert result.ended == "timeout"
    assert len(steps) == 50
    assert result.mean_costs[0] > 0.0
    assert result.counted_costs == result.mean_costs


def test_a_fall_that_costs_nothing_in_the_end_counts_over_the_whole_roll_out():
    sets = ["episode.fall_roll_rad=0.03", "constraint.pitch_limit_rad=0.05"]
    steps, result = roll_out(*sets, "constraint.after_fall=counted")
    assert result.ended == "fall"
    costs = np.array([step.costs for step in steps])
    assert costs[-1][1] == 0.0
    expected = (costs.sum(axis=0) + costs[-1] * (50 - len(steps))) / 50
    np.testing.assert_allclose(result.counted_costs, expected)

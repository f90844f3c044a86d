# SPDX-License-Identifier: MIT
"""The fixed-rate trigger in a simulation that advances in steps."""

import itertools

import pytest

from walkhome.sim.emulator.rate import FixedRateTrigger

STEP_S = 0.002


@pytest.mark.parametrize(("rate_hz", "steps"), [(100.0, 5), (50.0, 10), (500.0, 1)])
def test_every_period_has_the_same_number_of_steps(rate_hz, steps):
    """Over ten minutes, because sums of steps round differently between powers of two."""
    every = FixedRateTrigger(rate_hz)
    due = [step for step in range(300_000) if every.due(step * STEP_S)]
    assert due[0] == 0
    assert {after - before for before, after in itertools.pairwise(due)} == {steps}


def test_a_rate_between_the_steps_is_kept_in_the_mean():
    every = FixedRateTrigger(300.0)
    due = sum(every.due(step * STEP_S) for step in range(5000))
    assert due == 3000


def test_what_was_missed_is_not_made_up_for():
    every = FixedRateTrigger(100.0)
    assert every.due(0.0)
    assert every.due(0.1)
    assert not every.due(0.104)
    assert every.due(0.11)

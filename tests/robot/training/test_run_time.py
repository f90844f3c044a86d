# SPDX-License-Identifier: MIT
"""Time that a run has taken, over its processes."""

import pytest

from walkhome.robot.training.run_time import RunTime


class Hand:
    """A clock that is set by hand."""

    def __init__(self, at_s):
        self.at_s = at_s

    def __call__(self):
        return self.at_s


def test_it_counts_from_its_start():
    wall, cpu = Hand(100.0), Hand(2.0)
    spent = RunTime(wall, cpu)
    wall.at_s, cpu.at_s = 160.0, 32.0
    assert (spent.wall_s, spent.cpu_s) == (60.0, 30.0)


def test_the_next_process_counts_on_but_not_what_lay_between():
    wall, cpu = Hand(100.0), Hand(2.0)
    first = RunTime(wall, cpu)
    wall.at_s, cpu.at_s = 160.0, 32.0
    state = first.state_dict()
    wall.at_s, cpu.at_s = 1000.0, 0.5  # a new process
    second = RunTime(wall, cpu)
    second.load_state_dict(state)
    wall.at_s, cpu.at_s = 1007.0, 4.5
    assert (second.wall_s, second.cpu_s) == (67.0, 34.0)


def test_half_a_state_is_refused():
    with pytest.raises(KeyError, match="cpu_s"):
        RunTime().load_state_dict({"wall_s": 1.0})


def test_work_shows_on_the_processors_clock():
    spent = RunTime()
    while spent.wall_s < 0.05 or spent.cpu_s == 0.0:
        sum(range(1000))
    assert spent.cpu_s > 0.0

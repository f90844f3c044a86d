# SPDX-License-Identifier: MIT
"""Honest figures: what is counted and what summary.json says of it."""

import pytest

from walkhome.robot.control.episode import EpisodeResult
from walkhome.robot.training.statistics import SPEED_WINDOW, RunStatistics


def result(task="forward", ended="timeout", speed=0.1):
    return EpisodeResult(
        task, 200, ended, (0, 0, 0), (1, 0, 0), speed, 0.0, 1.0, (0.0, 0.0), (0.0, 0.0)
    )


def test_summary_counts_everything_apart():
    tally = RunStatistics.of(("forward", "backward"))
    for ended in ("timeout", "fall", "exit", "fall"):
        tally.tasks["forward"].steps += 200
        tally.add(result(ended=ended))
    tally.add(result("backward"))
    tally.moving_s, tally.standing_up_s, tally.waiting_s = 60.0, 30.0, 6.0
    tally.stand_ups_tried, tally.stand_ups_failed = 7, 2
    summary = tally.summary()
    assert summary["robot_minutes"] == pytest.approx(
        {"total": 1.6, "moving": 1.0, "standing_up": 0.5, "waiting": 0.1}
    )
    assert (summary["falls"], summary["workspace_exits"], summary["steps"]) == (2, 1, 800)
    assert summary["stand_ups"] == {"tried": 7, "failed": 2}
    assert summary["tasks"]["forward"]["episodes"] == 4
    assert summary["tasks"]["backward"]["falls"] == 0
    assert tally.experience() == {"forward": 800, "backward": 0}


def test_speeds_are_means_of_the_last_episodes():
    tally = RunStatistics.of(("forward",))
    for i in range(SPEED_WINDOW + 5):
        tally.add(result(speed=float(i)))
    assert tally.tasks["forward"].speed_m_s == pytest.approx(
        sum(range(5, SPEED_WINDOW + 5)) / SPEED_WINDOW
    )
    assert RunStatistics.of(("forward",)).tasks["forward"].speed_m_s == 0.0


def test_leaving_while_standing_up_counts_once():
    tally = RunStatistics.of(("forward", "backward"))
    tally.see(True, standing_up=True)
    tally.see(True, standing_up=False)
    tally.see(False, standing_up=True)  # rolled over the edge
    assert tally.workspace_exits == 1
    tally.see(False, standing_up=False)
    tally.see(False, standing_up=True)  # still outside: not again
    assert tally.workspace_exits == 1
    tally.see(True, standing_up=False)
    tally.see(False, standing_up=False)  # the episode counts that itself
    tally.see(False, standing_up=True)
    assert tally.workspace_exits == 1
    assert tally.summary()["workspace_exits"] == 1

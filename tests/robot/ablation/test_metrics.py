# SPDX-License-Identifier: MIT
"""Metrics and curves of a run, against made-up runs whose values are known."""

import math

import numpy as np
import pytest
from fake_run import make_fake_run

from walkhome.robot.ablation.metric_names import CURVES, METRICS
from walkhome.robot.ablation.metrics import curves_of, metrics_of, speed_on
from walkhome.robot.report.run_data import RunData
from walkhome.robot.storage.journal import RECORD
from walkhome.robot.storage.run_folder import RunFolder


def evaluated(speed_m_s, turn_rate_rad_s, falls, **more):
    given = {"speed_m_s": speed_m_s, "turn_rate_rad_s": turn_rate_rad_s, "falls": falls}
    return {**given, "episodes": 5, "straight_speed_m_s": 0.0, "return_per_step": 1.0, **more}


EVALUATION = {
    "terrains": {
        "mattress": {
            "tasks": {
                "forward": evaluated(0.6, 0.0, falls=1, straight_speed_m_s=0.5),
                "backward": evaluated(0.4, 0.0, falls=0, straight_speed_m_s=0.3),
                "right": evaluated(0.0, -0.8, falls=2, return_per_step=3.0),
                "left": evaluated(0.0, 0.4, falls=0),
            }
        },
        "flat": {"tasks": {"forward": {"speed_m_s": 0.9}}},
    }
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    make_fake_run(tmp_path_factory.mktemp("run") / "run", episodes=20)
    return RunData.read(RunFolder.open(tmp_path_factory.getbasetemp() / "run0" / "run"))


def changed(run, **fields):
    return RunData(**{**vars(run), **fields})


def episode(minute, task="forward", **fields):
    given = {"steps": 100, "ended": "timeout", "speed_m_s": 0.0, "turn_rate_rad_s": 0.0}
    given |= {"return": 0.0, "lambda": [0.0, 0.0], "task": task, "robot_s": 60.0 * minute}
    return {**given, **fields}


def of(run, episodes=None, **summary):
    minutes = {"total": 8.0, "moving": 6.0, "standing_up": 1.5, "waiting": 0.5}
    made = {**run.summary, "robot_minutes": minutes, **summary}
    some = run.episodes if episodes is None else episodes
    return metrics_of(changed(run, summary=made, episodes=some), EVALUATION)


def test_every_metric_has_a_name_and_a_value(run):
    values = metrics_of(run, EVALUATION)
    assert set(values) == set(METRICS)
    assert all(math.isfinite(value) for value in values.values())


def test_what_is_counted_is_counted_per_robot_minute(run):
    values = of(run, falls=24, workspace_exits=4, human_resets=3, status="done")
    assert (values["falls"], values["exits"], values["interventions"]) == (3.0, 0.5, 3.0 / 8.0)
    assert values["falls_moving"] == 4.0
    assert of(run, human_resets=3, status="needs_help")["interventions"] == 0.5
    assert (values["duty"], values["moving_minutes"], values["robot_minutes"]) == (75.0, 6.0, 8.0)


def test_the_evaluation_is_that_on_the_own_terrain(run):
    values = of(run)
    assert values["speed"] == pytest.approx(0.5)
    assert (values["speed_forward"], values["speed_backward"]) == (0.6, 0.4)
    assert values["straight_speed"] == pytest.approx(0.4)
    assert values["turn_rate"] == pytest.approx(0.6)
    assert values["eval_falls"] == pytest.approx(3 / 20)
    assert values["eval_return"] == pytest.approx(1.5)
    assert speed_on(EVALUATION, "flat") == 0.9
    assert math.isnan(speed_on(EVALUATION, "doormat"))


def test_the_return_is_per_step_and_of_the_last_quarter(run):
    episodes = [
        episode(1.0, **{"return": 1e6}),
        episode(7.0, steps=100, **{"return": 50.0, "lambda": [1.0, 3.0]}),
        episode(7.5, steps=300, **{"return": 350.0, "lambda": [2.0, 1.0]}),
        episode(7.6, "backward", steps=200, **{"return": 600.0, "lambda": [0.0, 0.0]}),
    ]
    values = of(run, episodes)
    assert values["return"] == pytest.approx((1.0 + 3.0) / 2)  # the mean over tasks
    assert values["multiplier"] == pytest.approx(5.0 / 3.0)


def test_steps_cut_off_by_a_fall_count_without_reward(run):
    whole = round(run.config.episode.length_s * run.config.control.rate_hz)
    fell = episode(7.0, steps=10, ended="fall", **{"return": 40.0})
    back = episode(7.5, "backward", steps=100, **{"return": 0.0})
    assert of(run, [fell, back])["return"] == pytest.approx(40.0 / whole / 2)


def test_a_task_without_late_episodes_counts_with_its_last_ones(run):
    early = [episode(k, **{"return": 100.0 * k}) for k in range(1, 6)]
    back = [episode(7.5, "backward", **{"return": 0.0})]
    assert of(run, early + back)["return"] == pytest.approx((3.0 + 4.0 + 5.0) / 3 / 2)
    assert math.isnan(of(run, early)["return"])  # nobody has ever walked backward


def test_minutes_to_walk(run):
    slow = [episode(0.1 * k, task, speed_m_s=0.1) for k in range(5) for task in ("forward",)]
    walks = [episode(1.0 + 0.1 * k, speed_m_s=0.4) for k in range(5)]
    back = [episode(2.0 + 0.1 * k, "backward", speed_m_s=0.31) for k in range(5)]
    assert of(run, slow + walks + back)["minutes_to_walk"] == pytest.approx(2.4)
    # Not every task walks: the whole length, a lower bound.
    whole = run.config.run.minutes
    assert of(run, slow + walks + back[:4])["minutes_to_walk"] == whole
    # A run that ended early is not a quick one.
    early = {"total": 1.5, "moving": 1.0, "standing_up": 0.5, "waiting": 0.0}
    assert of(run, slow, robot_minutes=early)["minutes_to_walk"] == whole


def test_steps_beyond_the_limits_torque_jitter_and_heat(run):
    records = np.zeros(4, RECORD)
    records["index"] = [0, 1, 2, 9]  # a gap: not from one roll-out to the next
    records["attitude"][:, 1] = [0.3, 0.1, -0.3, 0.0]  # pitch limit 0.262
    records["attitude"][:, 0] = [0.0, 0.6, 0.0, 0.0]  # roll limit 0.524
    records["pose"][:, :2] = [[2.4, 0.0], [-2.6, 0.0], [0.0, 2.6], [2.4, -2.4]]  # +-2.5 m
    records["torque"][:, :] = np.array([0.0, 1.0, 0.0, 1.9])[:, None]
    values = metrics_of(changed(run, records=records), EVALUATION)
    assert (values["beyond_pitch"], values["beyond_roll"], values["beyond"]) == (50.0, 25.0, 75.0)
    assert values["outside"] == 50.0
    assert values["jitter"] == pytest.approx(1.0)
    # 1 N m is 10 A, 1.9 N m 20 A, in 0.2 ohm.
    assert values["heat"] == pytest.approx(0.2 * (100.0 + 400.0) / 4, rel=1e-6)


def test_metrics_without_records_or_evaluation_are_nan(run):
    values = metrics_of(changed(run, records=np.zeros(0, RECORD)), {})
    missing = {name for name, value in values.items() if math.isnan(value)}
    assert missing == {
        *("speed", "speed_forward", "speed_backward", "straight_speed", "turn_rate"),
        *("eval_return", "eval_falls", "beyond", "beyond_pitch", "beyond_roll", "outside"),
        *("jitter", "heat"),
    }


def test_curves_count_up_and_average_the_last_part(run):
    episodes = [
        episode(1.0, ended="fall", steps=10, **{"return": 10.0}),
        episode(2.0, ended="exit", steps=30, **{"return": 10.0}),
        *(episode(6.0 + 0.1 * k, speed_m_s=0.5, **{"return": 200.0}) for k in range(10)),
    ]
    long = {**run.summary, "robot_minutes": {"total": 8.1, "moving": 8.1}}
    grid, curves = curves_of(changed(run, episodes=episodes, summary=long), 8.0)
    assert set(curves) == set(CURVES)
    assert (grid[0], grid[-1], len(grid)) == (0.0, 8.0, 49)

    def at(name, minute):
        return curves[name][np.argmin(np.abs(grid - minute))]

    assert (at("falls", 0.5), at("falls", 1.0), at("falls", 8.0)) == (0.0, 1.0, 1.0)
    assert (at("exits", 1.5), at("exits", 2.0)) == (0.0, 1.0)
    assert math.isnan(at("return", 0.5))
    whole = run.config.episode.length_s * run.config.control.rate_hz  # one of the two fell
    assert at("return", 4.0) == pytest.approx(20.0 / (whole + 30.0))
    assert at("return", 7.0) == pytest.approx(2.0)
    assert at("speed", 7.0) == pytest.approx(0.5)


def test_a_run_that_ended_early_has_no_curve_after_its_end(run):
    short = {**run.summary, "robot_minutes": {"total": 3.0, "moving": 3.0}}
    grid, curves = curves_of(changed(run, episodes=[episode(1.0)], summary=short), 8.0)
    for name in CURVES:
        assert np.isnan(curves[name][grid > 3.0]).all()
        assert np.isfinite(curves[name][(grid >= 1.0) & (grid <= 3.0)]).all()

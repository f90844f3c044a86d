# SPDX-License-Identifier: MIT
"""Contacts estimated from torques agree with the twin's ground forces."""

import numpy as np
import pytest
from board_world import World
from fake_run import make_fake_run

from walkhome.hardware.constants import GRAVITY_M_S2
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.control.actuator import ActionPath
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.reset import StandUpRoutine
from walkhome.robot.evaluation.gait import on_ground, without_chatter
from walkhome.robot.evaluation.gait_from_torque import (
    board_gaits,
    first_board_episode,
    gait_of_episode,
)
from walkhome.robot.report.gait_figures import contact_source, gait_rows
from walkhome.robot.report.run_data import RunData
from walkhome.robot.storage.journal import FLAG_FALL, FLAG_FIRST, RECORD
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.sim.instruments import foot_forces, mass_kg

STANDS_S, TROTS_S, STRIDE_HZ = 1.5, 6.0, 1.5


def trot(time_s):
    """(8,) a slow trot on the spot: diagonal legs shorten together."""
    phase = 2 * np.pi * STRIDE_HZ * time_s + np.array([0.0, np.pi, np.pi, 0.0])
    swing = 0.15 * np.sin(phase)
    return np.concatenate([swing, -0.9 * np.maximum(0.0, np.cos(phase))])


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Return journal rows of a robot that stands, then trots, and the true ground forces."""
    with World(tmp_path_factory.mktemp("board")) as world:
        rig = world.plant()
        cycle = ControlCycle(rig, world.config.episode)
        assert StandUpRoutine.of(world.config, cycle).stand_up().ok
        path = ActionPath(rig.robot.body, world.config.control)
        true, step = [], world.board.step

        def look():
            step()
            true.append((world.now(), foot_forces(world.twin)))

        world.board.step = look
        rows = np.zeros(round((STANDS_S + TROTS_S) / rig.clock.period_s), RECORD)
        state = rig.robot.read()
        path.reset(state)
        rig.actuator.reset(state)
        for row in rows:
            time_s = len(true) / 500 - STANDS_S
            target = path.target(trot(time_s) if time_s > 0 else np.zeros(8))
            rig.actuator.send(target, state)
            rig.clock.tick()
            state = rig.robot.read()
            row["time_s"], row["motor_angle"] = state.time_s, state.motor_angle_rad
            row["torque"] = state.motor_torque_nm
            row["attitude"] = roll_pitch_yaw(state.attitude_xyzw)[:2]
        weight_n = mass_kg(world.twin) * GRAVITY_M_S2
        times, forces = np.array([t for t, _ in true]), np.array([f for _, f in true])
        config = world.config
    return rows, times, forces, weight_n, config


def test_standing_the_feet_carry_the_robot(walked):
    rows, _, _, weight_n, config = walked
    record = gait_of_episode(rows, config)
    still = record.foot_force_n[25:60]
    assert still.sum(axis=1).mean() == pytest.approx(weight_n, rel=0.25)
    assert record.contact()[25:60].all()


def test_contacts_agree_with_the_ground(walked):
    rows, times, forces, _, config = walked
    record = gait_of_episode(rows, config)
    assert record.estimated
    at = np.searchsorted(times, rows["time_s"][0] + record.time_s).clip(0, len(times) - 1)
    true = on_ground(forces)
    trots = record.time_s > STANDS_S + 0.5
    pairs = []
    for leg in range(4):
        quiet = without_chatter(record.contact()[:, leg], 0.02)
        pairs.append((quiet[trots], without_chatter(true[:, leg], 0.002)[at][trots]))
    estimated, true = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert 0.3 < true.mean() < 0.9  # it does lift its feet
    right = estimated == true
    assert right.mean() > 0.85
    assert right[true].mean() > 0.75
    assert right[~true].mean() > 0.7


def test_late_periods_keep_the_strides_length(walked):
    rows, *_, config = walked
    whole = gait_of_episode(rows, config)
    holes = np.delete(rows, [40, 41, 99])
    again = gait_of_episode(holes, config)
    assert len(again.time_s) == len(whole.time_s)
    np.testing.assert_allclose(again.time_s, whole.time_s)


def test_the_longest_of_the_last_good_episodes_is_taken(walked):
    rows, *_, config = walked
    assert config.tasks == ("forward", "backward")

    def episode(number, task, length, flags=0):
        part = rows[:length].copy()
        part["episode"], part["task"] = number, task
        part["flags"][0], part["flags"][-1] = FLAG_FIRST, flags
        return part

    parts = [
        episode(0, 0, 300),
        episode(1, 0, 150),
        episode(2, 0, 200),
        episode(3, 0, 250, FLAG_FALL),
    ]
    parts.append(episode(4, 1, 60))  # too short for a gait
    found = board_gaits(np.concatenate(parts), config, first_episode=1)
    assert list(found) == ["forward"]
    assert len(found["forward"].time_s) == pytest.approx(200, abs=2)


@pytest.mark.parametrize(
    ("kinds", "first"),
    [
        ([], None),
        (["learn_start", "episode"], None),
        (["on_time", "learn_start", "episode"], 0),
        (["learn_start", "episode", "episode", "on_time", "learn_start"], 2),
        (["on_time", "learn_start", "episode", "learn_start", "episode"], None),
    ],
)
def test_whether_a_board_was_driven_last(kinds, first):
    assert first_board_episode([{"event": kind} for kind in kinds]) == first


def test_the_page_says_where_contacts_come_from(tmp_path, walked):
    rows, *_, config = walked
    run = make_fake_run(tmp_path / "run", episodes=2)
    data = RunData.read(RunFolder.open(run.path))
    assert data.gaits == {}
    data.gaits["forward"] = gait_of_episode(rows, config)
    assert contact_source(data.gaits["forward"]) == "estimated from torque, on the robot"
    (row,) = gait_rows(data)
    assert row[2] == "estimated from torque, on the robot"

# SPDX-License-Identifier: MIT
"""Replay on a robot: which episodes may be replayed, easing in, stopping."""

import numpy as np
import pytest
from board_world import World
from bodies import MINITAUR

from walkhome.robot.board.replay import RecordedActions, actions_of, replay_actions
from walkhome.robot.control.actuator import ActionPath
from walkhome.robot.control.behaviours import EasingIn
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.reset import StandUpRoutine
from walkhome.robot.storage.journal import FLAG_START, PHASE_EPISODE, PHASE_STAND_UP, RECORD
from walkhome.robot.storage.recorded_episodes import Episode
from walkhome.robot.storage.run_folder import RunError


def never():
    return False


def episode(steps=20, **changed):
    """A recorded episode with its stand-up; its actions swing all legs to one side."""
    rows = np.zeros(steps + 4, RECORD)
    rows["index"] = 100 + np.arange(len(rows))
    rows["phase"][:3] = PHASE_STAND_UP
    rows["phase"][3:] = PHASE_EPISODE
    rows["flags"][3] = FLAG_START
    rows["motor_angle"] = MINITAUR.stance_motor_rad() - 0.1
    rows["action"][4:, :4] = np.linspace(0.0, 0.3, steps)[:, None]
    for name, (at, value) in changed.items():
        rows[name][at] = value
    return Episode(7, "forward", "time", rows, 0.02)


def test_the_actions_are_those_of_the_episode_alone():
    found = actions_of(episode())
    assert found.actions.shape == (20, 8)
    assert found.actions[-1, 0] == pytest.approx(0.3)
    np.testing.assert_allclose(found.first_rad, MINITAUR.stance_motor_rad() - 0.1, atol=1e-6)


def without(rows):
    whole = episode()
    return Episode(7, "forward", "time", np.delete(whole.records, rows), 0.02)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (episode(steps=0), "has no commands"),
        (without([3]), "missing or damaged"),  # its first posture
        (without([10]), "missing or damaged"),
        (episode(action=(10, np.nan)), "missing or damaged"),
        (episode(action=(10, 1.5)), "missing or damaged"),
        (episode(motor_angle=(3, np.inf)), "missing or damaged"),
    ],
)
def test_an_episode_without_all_of_its_actions_is_refused(broken, why):
    with pytest.raises(RunError, match=f"--episode 7: .*{why}"):
        actions_of(broken)


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """A function that makes the robot behind an emulated board stand; time is the board's own.

    It returns the cycle, the configuration, an action path, and the list of angles sent since.
    """
    with World(tmp_path_factory.mktemp("board")) as world:
        plant = world.plant()
        cycle = ControlCycle(plant, world.config.episode)
        sent = []
        command = plant.robot.command

        def note(asked):
            sent.append(asked.angle_rad)
            return command(asked)

        plant.robot.command = note
        routine = StandUpRoutine.of(world.config, cycle, never)

        def stand():
            assert routine.stand_up().ok
            sent.clear()
            path = ActionPath(plant.robot.body, world.config.control)
            return cycle, world.config, path, sent

        yield stand


def test_replay_eases_in_and_sends_the_recorded_actions(standing):
    cycle, _, path, sent = standing()
    commands = actions_of(episode(steps=50))
    assert replay_actions(cycle, path, commands, never) == ""
    assert len(sent) == 50 + 50
    steps = np.abs(np.diff(sent, axis=0)).max(axis=1)
    assert steps[:49].max() < 0.1  # while it eases in
    assert (
        steps.max() <= cycle.plant.robot.body.rate_limit_rad_s * cycle.plant.clock.period_s + 1e-9
    )
    np.testing.assert_allclose(sent[49], commands.first_rad, atol=0.05)
    # After the low-pass filter has settled, the legs are where the last action puts them.
    wanted = cycle.plant.robot.body.action_to_motor(commands.actions[-1])
    np.testing.assert_allclose(sent[-1], wanted, atol=0.05)


def test_easing_in_stays_within_the_action_ranges(standing):
    cycle, _, _, sent = standing()
    assert cycle.run(EasingIn(cycle.plant.robot.body, np.full(8, 9.0), 50, never))
    extension = 0.5 * (sent[-1][0::2] + sent[-1][1::2])
    assert extension.max() <= 2.5 + 1e-6


def test_replay_ends_on_a_stop_request_and_on_a_fall(standing):
    cycle, config, path, sent = standing()
    still = RecordedActions(MINITAUR.stance_motor_rad(), np.zeros((100, 8)))
    asked = iter(range(1000))
    assert replay_actions(cycle, path, still, lambda: next(asked) > 60) == "stopped"
    assert len(sent) == 61
    low = config.model_copy(
        update={"episode": config.episode.model_copy(update={"fall_pitch_rad": 1e-6})}
    )
    frail = ControlCycle(cycle.plant, low.episode)
    assert "it fell after" in replay_actions(frail, path, still, never)

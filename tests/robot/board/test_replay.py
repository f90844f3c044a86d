# SPDX-License-Identifier: MIT
"""What of a journal may be asked of a robot again, and how it eases into it."""

import numpy as np
import pytest
from board_world import World

from walkhome.hardware.body import MINITAUR
from walkhome.robot.board.replay import Commands, _ease_in, _replay, commands_of
from walkhome.robot.control.plant import Actuator
from walkhome.robot.control.reset import Resetter
from walkhome.robot.storage.journal import FLAG_START, PHASE_EPISODE, PHASE_STAND_UP, RECORD
from walkhome.robot.storage.recorded_episodes import Episode
from walkhome.robot.storage.run_folder import RunError


def never():
    return False


def episode(steps=20, **changed):
    """A recorded episode with its stand-up; its actions swing to one side."""
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


def test_the_commands_are_those_of_the_episode_alone():
    found = commands_of(episode())
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
def test_what_has_no_whole_commands_is_refused(broken, why):
    with pytest.raises(RunError, match=f"--episode 7: .*{why}"):
        commands_of(broken)


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """A robot behind the emulated board, armed and on its feet; time is the board's own."""
    with World(tmp_path_factory.mktemp("board")) as world:
        rig = world.rig()
        actuator = Actuator(rig, world.config)
        sent = []
        command = rig.robot.command

        def note(asked):
            sent.append(asked.angle_rad)
            return command(asked)

        rig.robot.command = note
        resetter = Resetter(world.config, rig, actuator, ready=lambda: rig.arming.ready(never))

        def stand():
            assert resetter.stand_up().ok
            sent.clear()
            return rig, world.config, actuator, sent

        yield stand


def test_it_eases_in_and_asks_for_the_same_again(standing):
    rig, config, actuator, sent = standing()
    commands = commands_of(episode(steps=50))
    assert _replay(rig, config, actuator, commands, never) == ""
    assert len(sent) == 50 + 50
    steps = np.abs(np.diff(sent, axis=0)).max(axis=1)
    assert steps[:49].max() < 0.1  # while it eases in
    assert steps.max() <= rig.robot.body.rate_limit_rad_s * rig.clock.period_s + 1e-9
    np.testing.assert_allclose(sent[49], commands.first_rad, atol=0.05)
    # After the low-pass has caught up, the legs are where the journal's actions want them.
    wanted = rig.robot.body.action_to_motor(commands.actions[-1])
    np.testing.assert_allclose(sent[-1], wanted, atol=0.05)


def test_a_first_posture_out_of_range_is_not_reached_for(standing):
    rig, _, actuator, sent = standing()
    _ease_in(rig, actuator, np.full(8, 9.0), never)
    extension = 0.5 * (sent[-1][0::2] + sent[-1][1::2])
    assert extension.max() <= 2.5 + 1e-6


def test_it_stops_when_it_is_told_to_and_when_it_has_fallen(standing):
    rig, config, actuator, sent = standing()
    still = Commands(MINITAUR.stance_motor_rad(), np.zeros((100, 8)))
    asked = iter(range(1000))
    assert _replay(rig, config, actuator, still, lambda: next(asked) > 60) == "stopped"
    assert len(sent) == 61
    low = config.model_copy(
        update={"episode": config.episode.model_copy(update={"fall_pitch_rad": 1e-6})}
    )
    assert "it fell after" in _replay(rig, low, actuator, still, never)

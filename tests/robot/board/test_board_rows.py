# SPDX-License-Identifier: MIT
"""Rows of the fault matrix that the host detects, each on the emulated board during learning.

Each fault must be in events.jsonl with its code, in the summary, and in a message; the commands are
read from the bytes that the board received.
"""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from board_world import World
from small_runs import SMALL, Silent

from walkhome.hardware.robot import NotFit
from walkhome.hardware.serial.protocol import Decoder, MessageType, fields_of
from walkhome.learning.policy import PolicyInvalid
from walkhome.robot.board.stand_up import cycle_for, get_up
from walkhome.robot.control.plant import ROBOT_FAULTS
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.trainer import Trainer
from walkhome.safety.command.torque_tracking import TorqueTrackingMonitor
from walkhome.safety.faults.matrix import FAULTS, Clears
from walkhome.sim.emulator.core import BoardCore

SETS = (*SMALL, "run.minutes=0.3", "learning.random_steps=20", "episode.length_s=4.0")


def never():
    return False


def learn(folder, *faults, prepare=lambda world, trainer: None, sets=()):
    """Learn with faults; return the run's status, faults, events, messages and commands.

    `prepare` gets the world and the trainer before the run.
    """
    with World(folder, *faults, sets=(*SETS, *sets)) as world:
        heard, view = [], Silent()
        _spy(world, heard)
        run = RunFolder.create(folder / "run", world.config)
        trainer = Trainer(world.config, run, view, SimpleNamespace(requested=False), world.plant())
        prepare(world, trainer)
        with run:
            summary = trainer.run()
    commands = [f for f in Decoder().feed(b"".join(heard)) if f.kind is MessageType.COMMAND]
    return SimpleNamespace(
        status=summary["status"],
        faults=summary["board"]["faults"],
        counted=summary["board"]["telemetry"],
        events=[e for e in RunFolder.open(folder / "run").events() if e["event"] == "fault"],
        said=" | ".join(view.messages),
        commands=[fields_of(frame) for frame in commands],
    )


def _spy(world, heard):
    core = world.board._core
    receive = core.receive

    def spied(data, now_us):
        heard.append(data)
        receive(data, now_us)

    core.receive = spied


def check_row(done, code):
    """Check that a fault of this code was handled as its row of the matrix demands."""
    event = next(event for event in done.events if event["code"] == code)
    rule = FAULTS[code]
    assert (event["level"], event["clears"]) == (rule.level.name, rule.clears.value)
    assert event["goes_on"] == (rule.clears is Clears.AUTO_BUDGET)
    assert event["text"] in done.said
    if rule.clears is Clears.AUTO_BUDGET:
        assert (event["used"], event["budget"]) == (1, rule.per_10_min)
        assert done.status == "done"
    else:
        assert done.status == "needs_help"
        assert f"a person is needed: {code}: {rule.text}" in done.said


def test_too_many_damaged_frames(tmp_path):
    done = learn(tmp_path, "garble@8:0.3")
    check_row(done, "link_damaged")
    assert done.counted["damaged"] >= 8


class Broken:
    """A policy whose first answer is given: an action, or an exception to raise."""

    def __init__(self, policy, answer):
        self._policy, self._answers = policy, [answer]

    def act(self, observation, **how):
        if not self._answers:
            return self._policy.act(observation, **how)
        answer = self._answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    "answer", [np.full(8, np.nan), np.full(8, np.inf), PolicyInvalid("its weights are damaged")]
)
def test_an_action_that_is_not_finite_is_never_sent(tmp_path, answer):
    def prepare(world, trainer):
        policies = trainer._exploration.policies
        trainer._exploration.policies = {name: Broken(p, answer) for name, p in policies.items()}

    # The policies of both tasks are broken, once each.
    done = learn(tmp_path, prepare=prepare, sets=("tasks=[forward,backward]",))
    check_row(done, "bad_action")
    assert set(done.faults) == {"bad_action"}
    assert done.commands
    assert np.isfinite([c["angle_rad"] for c in done.commands]).all()


def test_a_motor_that_does_nothing(tmp_path):
    done = learn(tmp_path, "dead-motor@8")
    check_row(done, "motor")
    assert "motor 3 does not produce the commanded torque" in done.said


def test_healthy_motors_follow_their_commands(tmp_path, monkeypatch):
    """With random actions, falls and stand-ups, the monitor uses less than half of its patience."""
    seen = []
    ask = TorqueTrackingMonitor.untracked

    def asked(self, state):
        motor = ask(self, state)
        seen.append(0.0 if self._idle_s is None else float(self._idle_s.max()))
        return motor

    monkeypatch.setattr(TorqueTrackingMonitor, "untracked", asked)
    done = learn(tmp_path, sets=("learning.random_steps=100000",))
    assert (done.status, done.faults) == ("done", {})
    assert len(seen) > 500
    assert max(seen) < 0.2


def test_a_loop_that_is_late_again_and_again(tmp_path):
    def prepare(world, trainer):
        sleep = world.sleep

        def slow(seconds):
            late_s = 0.01 if 8.0 < world.now() < 8.3 and seconds < 0.02 else 0.0
            sleep(seconds + late_s)

        trainer._plant.clock._sleep = slow

    done = learn(tmp_path, prepare=prepare)
    check_row(done, "late")


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("unsafe_limits", {"kp_limit": 0.5}),
        ("wrong_robot", {"robot_id": b"another"}),
        ("wrong_robot", {"zero_table": 9}),
    ],
)
def test_a_board_that_comes_back_as_another(tmp_path, code, changes):
    def prepare(world, trainer):
        same = {"robot_id": b"emulated", "zero_table": 1, "boot": 12345}
        world.board._start = lambda: BoardCore(random=7, **{**same, **changes})

    done = learn(tmp_path, "reboot@8:0.1", prepare=prepare)
    assert list(done.faults)[1:] == [code]  # after the fault of the reboot
    check_row(done, code)


def test_a_robot_that_does_not_get_up(tmp_path):
    def prepare(world, trainer):
        trainer._routine._attempts = lambda: (False, 5)

    done = learn(tmp_path, prepare=prepare, sets=("stand_up.pause_s=0.1",))
    check_row(done, "cannot_stand")
    assert "15 attempts failed" in done.said


def test_a_fault_during_stand_up_is_reported(tmp_path):
    """`robot stand-up`, like all commands that drive a board, accounts for faults by the matrix."""
    with World(tmp_path, "dead-motor@2") as world:
        plant = world.plant()
        cycle = cycle_for(world.config, plant, world.said.append)
        assert not get_up(world.config, cycle, never, world.said.append)
        assert plant.arming.budget.counts == {"motor": 1}
    assert any(text.startswith("a person is needed: motor") for text in world.said)


def test_faults_that_the_host_detects_are_robot_faults():
    assert NotFit in ROBOT_FAULTS
    with contextlib.suppress(*ROBOT_FAULTS):
        raise NotFit("it is late", "late")

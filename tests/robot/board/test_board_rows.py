# SPDX-License-Identifier: MIT
"""Rows of the fault matrix that the host itself sees, each on the emulated board while it learns.

What happened is in events.jsonl with its code, what came of it in the summary, and a line of it was
said; of the board's own bytes is asked what it got.
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


def learn(folder, *faults, prepare=lambda world, loop: None, sets=()):
    """A run, and what is known of it."""
    with World(folder, *faults, sets=(*SETS, *sets)) as world:
        heard, view = [], Silent()
        _spy(world, heard)
        run = RunFolder.create(folder / "run", world.config)
        loop = Trainer(world.config, run, view, SimpleNamespace(requested=False), world.plant())
        prepare(world, loop)
        with run:
            summary = loop.run()
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
    """That a fault of this code was handled as its row says."""
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
    """A policy that says what it is told, once."""

    def __init__(self, policy, says):
        self._policy, self._says = policy, [says]

    def act(self, observation, **how):
        if not self._says:
            return self._policy.act(observation, **how)
        says = self._says.pop()
        if isinstance(says, Exception):
            raise says
        return says


@pytest.mark.parametrize(
    "says", [np.full(8, np.nan), np.full(8, np.inf), PolicyInvalid("its weights are damaged")]
)
def test_an_action_that_is_not_finite_never_leaves(tmp_path, says):
    def prepare(world, loop):
        policies = loop._exploration.policies
        loop._exploration.policies = {name: Broken(p, says) for name, p in policies.items()}

    # Of two tasks both are broken, once each.
    done = learn(tmp_path, prepare=prepare, sets=("tasks=[forward,backward]",))
    check_row(done, "bad_action")
    assert set(done.faults) == {"bad_action"}
    assert done.commands
    assert np.isfinite([c["angle_rad"] for c in done.commands]).all()


def test_a_motor_that_does_nothing(tmp_path):
    done = learn(tmp_path, "dead-motor@8")
    check_row(done, "motor")
    assert "motor 3 does not do what it is told" in done.said


def test_motors_that_are_well_obey(tmp_path, monkeypatch):
    """A walk at random, falls and stand-ups included, and never half of the patience used."""
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
    def prepare(world, loop):
        sleep = world.sleep

        def slow(seconds):
            late_s = 0.01 if 8.0 < world.now() < 8.3 and seconds < 0.02 else 0.0
            sleep(seconds + late_s)

        loop._plant.clock._sleep = slow

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
    def prepare(world, loop):
        same = {"robot_id": b"emulated", "zero_table": 1, "boot": 12345}
        world.board._start = lambda: BoardCore(random=7, **{**same, **changes})

    done = learn(tmp_path, "reboot@8:0.1", prepare=prepare)
    assert list(done.faults)[1:] == [code]  # after the reboot itself
    check_row(done, code)


def test_a_robot_that_does_not_get_up(tmp_path):
    def prepare(world, loop):
        loop._routine._attempts = lambda: (False, 5)

    done = learn(tmp_path, prepare=prepare, sets=("stand_up.pause_s=0.1",))
    check_row(done, "cannot_stand")
    assert "15 attempts failed" in done.said


def test_who_stands_beside_it_is_told_as_well(tmp_path):
    """`robot stand-up` and what else drives a board goes through the same gate."""
    with World(tmp_path, "dead-motor@2") as world:
        rig = world.plant()
        cycle = cycle_for(world.config, rig, world.said.append)
        assert not get_up(world.config, cycle, never, world.said.append)
        assert rig.arming.budget.counts == {"motor": 1}
    assert any(text.startswith("a person is needed: motor") for text in world.said)


def test_a_fault_of_the_host_is_one_of_the_robots():
    assert NotFit in ROBOT_FAULTS
    with contextlib.suppress(*ROBOT_FAULTS):
        raise NotFit("it is late", "late")

# SPDX-License-Identifier: MIT
"""The controller: for any driver input commands stay within limits, and a release settles."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fake_robot import FakeClock, FakeRobot
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_run import TASKS, posture_policy

from walkhome.hardware.body import motor_to_leg
from walkhome.hardware.robot import MotorCommand, Stop
from walkhome.hardware.rotation import quaternion
from walkhome.robot.control.twin_plant import TwinPlant, make_twin
from walkhome.robot.mdp.observation import observation_layout
from walkhome.robot.teleop.controller import Teleop
from walkhome.robot.teleop.driver_input import DriverInput
from walkhome.robot.teleop.telemetry import DriveState, Listeners

ON_ITS_SIDE = quaternion(roll_rad=math.pi / 2)


class Driver:
    """An input source that plays a list, one input per period, then ends."""

    attended = True

    def __init__(self, inputs):
        self.inputs = list(inputs)
        self.polls = 0

    def poll(self, driven_s):
        self.polls += 1
        return self.inputs.pop(0) if self.inputs else DriverInput(ended=True)

    def close(self):
        pass


class Log:
    """Records the periods and events of a drive."""

    def __init__(self):
        self.events, self.periods = [], []

    @property
    def listeners(self):
        return Listeners(self.periods.append, lambda kind, fields: self.events.append(kind))


def make_teleop(config, plant, policies, inputs, **more):
    log = Log()
    return Teleop(config, plant, policies, Driver(inputs), 0.3, log.listeners, **more), log


STANDS = [DriverInput(held=True)] * 60  # long enough for the fake robot to stand up


@settings(max_examples=15)
@given(st.lists(st.sampled_from([*TASKS, None]), min_size=1, max_size=40), st.integers(0, 1000))
def test_no_switch_exceeds_the_command_limits(config, wanted, seed):
    robot = FakeRobot()
    plant = TwinPlant(robot, robot, FakeClock(robot), 0.025)
    rng, size = np.random.default_rng(seed), observation_layout(config.control).size
    # Postures at the ends of the range, and noise on top: the worst that can be learned.
    policies = {
        task: posture_policy(size, rng.choice([-1.0, 1.0], 8), rng, gain=1.0) for task in TASKS
    }
    inputs = [DriverInput(task, held=True) for task in wanted for _ in range(3)]
    teleop, log = make_teleop(config, plant, policies, STANDS + inputs)
    teleop.run()
    sent = [period.sent_rad for period in log.periods if period.drive_state is DriveState.DRIVING]
    assert len(sent) >= len(inputs)
    body = robot.body
    for angle in sent:
        swing, extension = motor_to_leg(angle)
        assert (np.abs(swing) <= body.action_swing_rad + 1e-9).all()
        assert (
            np.abs(extension - body.stance_extension_rad) <= body.action_extension_rad + 1e-9
        ).all()
    largest = max(np.abs(b - a).max() for a, b in pairwise(sent))
    assert largest <= body.rate_limit_rad_s * 0.02 + 1e-9


def test_a_switch_carries_filter_and_history_over_and_blends(config, fake_plant, policies):
    seen = {task: [] for task in TASKS}
    for task, policy in policies.items():

        def act(observation, deterministic, policy=policy, task=task):
            assert deterministic
            seen[task].append(observation)
            return type(policy).act(policy, observation, deterministic)

        policy.act = act
    inputs = [DriverInput("forward", held=True)] * 20 + [DriverInput("left", held=True)] * 20
    teleop, log = make_teleop(config, fake_plant, policies, STANDS + inputs)
    assert teleop.run().switches == 2
    both = [o for o in seen["left"] if any(o is other for other in seen["forward"])]
    assert 10 <= len(both) <= 15  # for 0.3 s both get the same observation
    for before, after in pairwise(seen["left"]):
        np.testing.assert_array_equal(after[:-21], before[21:])
    swing = np.array([m.action[[0, 2]] for m in log.periods if m.drive_state is DriveState.DRIVING])
    assert swing[-1] == pytest.approx([0.0, 0.2], abs=1e-6)
    # The action itself changes at the blend's rate, without a jump.
    assert np.abs(np.diff(swing, axis=0)).max() <= 0.2 * 0.02 / 0.3 + 1e-6


def test_between_opposite_gaits_it_stands(config, fake_plant, policies):
    size = observation_layout(config.control).size
    policies["forward"] = posture_policy(size, 0.2 * np.eye(8)[0])
    policies["backward"] = posture_policy(size, 0.2 * np.eye(8)[1])
    inputs = [DriverInput("forward", held=True)] * 30 + [DriverInput("backward", held=True)] * 40
    teleop, log = make_teleop(config, fake_plant, policies, STANDS + inputs)
    teleop.run()
    swing = np.array([m.action[:2] for m in log.periods if m.drive_state is DriveState.DRIVING])
    assert swing.max(axis=0) == pytest.approx([0.2, 0.2], abs=1e-6)
    assert not swing.min(axis=1).any()  # never both


LET_GO = {
    "released": DriverInput(),
    "lost": DriverInput(lost="gone"),
    "ended": DriverInput(ended=True),
    "settle": DriverInput(stop=Stop.SETTLE),
}


@pytest.mark.parametrize("how", LET_GO)
@pytest.mark.parametrize("after", [3, 40, 70], ids=["standing up", "standing", "walking"])
def test_letting_go_settles_at_the_next_period(config, fake_plant, policies, how, after):
    inputs = (STANDS + [DriverInput("forward", held=True)] * 20)[:after]
    teleop, _ = make_teleop(config, fake_plant, policies, [*inputs, *[LET_GO[how]] * 5])
    statistics = teleop.run()
    log = fake_plant.robot.log
    first = log.index(Stop.SETTLE)
    assert first <= after  # at most one command per period
    assert first >= after - 2
    assert not any(isinstance(entry, MotorCommand) for entry in log[first:])
    assert statistics.lost == ("gone" if how == "lost" else "")


def test_after_a_cut_the_dead_man_must_be_released(config, fake_plant, policies):
    held = DriverInput("forward", held=True)
    inputs = [*STANDS, DriverInput(stop=Stop.CUT, held=True), *[held] * 30]
    teleop, log = make_teleop(config, fake_plant, policies, [*inputs, DriverInput(), *[held] * 10])
    statistics = teleop.run()
    commands = fake_plant.robot.log
    first = commands.index(Stop.CUT)
    assert isinstance(commands[first - 1], MotorCommand)
    assert statistics.cuts == 1
    # While still held nothing moves; released and held again, the robot gets up.
    assert log.events.count("stand_up") == 2
    still = [m for m in log.periods if m.input is held and m.drive_state is DriveState.SETTLED]
    assert len(still) >= 29


@pytest.mark.parametrize(
    "inputs",
    [
        [DriverInput(stop=Stop.CUT, ended=True)],  # `x` and `q` in one read
        [
            DriverInput(ended=True),
            DriverInput(),
            DriverInput(stop=Stop.CUT),
            DriverInput(stop=Stop.CUT),
        ],  # sitting down
    ],
)
def test_a_cut_with_or_after_the_end_cuts_once(config, fake_plant, policies, inputs):
    teleop, log = make_teleop(config, fake_plant, policies, STANDS + inputs)
    statistics = teleop.run()
    stops = [entry for entry in fake_plant.robot.log if isinstance(entry, Stop)]
    assert stops[-1] is Stop.CUT
    assert stops.count(Stop.CUT) == statistics.cuts == log.events.count("cut") == 1


def test_a_robot_that_was_cut_and_drives_again_is_cut_again(config, fake_plant, policies):
    once = [*STANDS, DriverInput(stop=Stop.CUT), DriverInput()]
    inputs = [*once, *STANDS, DriverInput(stop=Stop.CUT, ended=True)]
    teleop, log = make_teleop(config, fake_plant, policies, inputs)
    assert teleop.run().cuts == log.events.count("cut") == 2
    assert [entry for entry in fake_plant.robot.log if isinstance(entry, Stop)][-1] is Stop.CUT


def test_a_second_signal_cuts(config, fake_plant, policies):
    class Insists(Driver):
        def poll(self, driven_s):
            if self.polls > 50:
                raise KeyboardInterrupt
            return super().poll(driven_s)

    teleop = Teleop(config, fake_plant, policies, Insists(STANDS * 2), 0.3)
    with pytest.raises(KeyboardInterrupt):
        teleop.run()
    assert fake_plant.robot.log[-1] is Stop.CUT


def test_an_unexpected_error_settles_the_robot(config, fake_plant, policies):
    def broken(observation, deterministic):
        raise ValueError("not finite")

    policies["forward"].act = broken
    teleop, _ = make_teleop(
        config, fake_plant, policies, [*STANDS, *[DriverInput("forward", held=True)] * 9]
    )
    with pytest.raises(ValueError, match="not finite"):
        teleop.run()
    assert fake_plant.robot.log[-1] is Stop.SETTLE


def test_a_task_that_was_not_learned_selects_standing(config, fake_plant, policies):
    del policies["left"]
    inputs = [*STANDS, *[DriverInput("left", held=True)] * 10]
    teleop, log = make_teleop(config, fake_plant, policies, inputs)
    assert teleop.run().switches == 0
    period = [p for p in log.periods if p.drive_state is DriveState.DRIVING][-1]
    assert np.abs(period.action).max() == 0.0
    assert "left was not learned" in period.input.note


def test_the_stride_scales_the_swing_only_and_slowly(config, fake_plant, policies):
    size = observation_layout(config.control).size
    policies["forward"] = posture_policy(size, np.full(8, 0.5))
    full = [DriverInput("forward", held=True)] * 40
    half = [replace(driver_input, scale=0.5) for driver_input in full]
    teleop, log = make_teleop(config, fake_plant, policies, STANDS + full + half)
    teleop.run()
    action = np.array([m.action for m in log.periods if m.drive_state is DriveState.DRIVING])
    assert action[-1] == pytest.approx([0.25] * 4 + [0.5] * 4, abs=1e-6)
    assert np.abs(np.diff(action[-40:], axis=0)).max() <= 0.5 * 0.02 / 0.3 + 1e-6


def test_a_robot_that_never_stands_needs_help(config, fake_plant, policies):
    fake_plant.robot.attitude = ON_ITS_SIDE
    short = config.model_copy(
        update={"stand_up": config.stand_up.model_copy(update={"max_attempts": 1, "pause_s": 0.1})}
    )
    teleop, _ = make_teleop(short, fake_plant, policies, [DriverInput(held=True)] * 5000)
    assert teleop.run().needs_help
    assert fake_plant.robot.log[-1] is Stop.SETTLE


def test_after_a_fall_it_gets_up_and_goes_on(config, policies):
    from walkhome.sim.instruments import push

    plant = make_twin(config, 3)
    held = DriverInput("forward", held=True)
    driver = Driver([held] * 1500)
    log = Log()

    def on_period(period):
        log.periods.append(period)
        # Knock the robot over once, by a push to the side.
        if 1.0 < period.statistics.driven_s <= 1.3 and period.drive_state is DriveState.DRIVING:
            push(plant.robot, np.array([0.0, 1500.0, 0.0]))

    listeners = Listeners(on_period, lambda kind, fields: log.events.append(kind))
    teleop = Teleop(config, plant, policies, driver, 0.3, listeners)
    try:
        statistics = teleop.run()
    finally:
        plant.robot.close()
    assert statistics.falls >= 1
    assert not statistics.needs_help
    after = log.events[log.events.index("fall") :]
    assert "stands" in after
    assert statistics.driven_s > 2.0

# SPDX-License-Identifier: MIT
import math
from dataclasses import replace

import numpy as np
import pytest
from bodies import MINITAUR
from twins import make_robot

from walkhome.hardware.body import leg_to_motor, motor_to_leg
from walkhome.hardware.robot import Fault, Implausible, MotorCommand, RobotState, Stop
from walkhome.hardware.rotation import quaternion, roll_pitch_yaw, world_z_in_body
from walkhome.safety.recovery.moves import (
    SPLAYED_EXTENSION_RAD,
    SPLAYED_RAD,
    WHIPS,
    Move,
    Moves,
    StandUpSettings,
    wrong_way_round,
)
from walkhome.safety.recovery.roll_over import FROM_BACK, FROM_SIDE, RollOverStep
from walkhome.safety.recovery.stand_up import StandUp, StandUpPhase

PERIOD_S = 0.02
FASTEST_RAD_S = 80.0  # of any move of the script
LEVEL = np.array([0.0, 0.0, 0.0, 1.0])


def state_of(motor_rad, attitude=LEVEL, velocity=None):
    return RobotState(
        time_s=0.0,
        motor_angle_rad=motor_rad,
        motor_velocity_rad_s=np.zeros(8) if velocity is None else velocity,
        motor_torque_nm=np.zeros(8),
        motor_temperature_c=np.full(8, 25.0),
        attitude_xyzw=attitude,
        angular_velocity_rad_s=np.zeros(3),
        acceleration_m_s2=np.array([0.0, 0.0, 9.81]),
        battery_v=16.0,
        faults=Fault.NONE,
        age_s=0.0,
    )


def stand_up(robot, seed=0, limit_s=16.0):
    """Run the script on a twin; returns whether it truly stands, the time and the commands."""
    script = StandUp(robot.body, np.random.default_rng(seed), max_attempts=5)
    state = robot.read()
    script.reset(state)
    start_s = robot.time_s
    commands = []
    while robot.time_s - start_s < limit_s:
        command = script.step(state, robot.time_s)
        commands.append(command)
        if command.done or command.failed:
            break
        robot.command(MotorCommand(command.motor_angle_rad, kp=command.kp, kd=command.kd))
        robot.advance(PERIOD_S)
        state = robot.read()
    time_s = robot.time_s - start_s
    true = robot.true_state()
    roll, pitch, _ = roll_pitch_yaw(true.quaternion_xyzw)
    stands = commands[-1].done and max(abs(roll), abs(pitch)) < 0.3 and true.position_m[2] > 0.15
    return stands, time_s, commands


def dropped(roll, pitch, motor_rad, seed=0, height_m=0.25, fall=Stop.SETTLE):
    robot = make_robot(seed=seed)
    robot.place(
        np.array([0.0, 0.0, height_m]),
        quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=0.3),
        motor_rad,
    )
    robot.stop(fall)
    robot.advance(0.8)
    return robot


STANCE = MINITAUR.stance_motor_rad()
FOLDED = leg_to_motor(np.zeros(4), np.full(4, 0.6))
WOUND = STANCE + np.array([0.0, 0.0, 2 * math.pi, 0.0, 0.0, -2 * math.pi, 0.0, 0.0])
POSTURES = {
    "belly": (0.0, 0.0, FOLDED),
    "back": (math.pi, 0.0, STANCE),
    "back, folded": (math.pi - 0.2, 0.1, FOLDED),
    "left side": (-math.pi / 2, 0.0, STANCE),
    "right side": (math.pi / 2, 0.0, STANCE),
    "nose": (0.0, math.pi / 2, STANCE),
    "tail": (0.3, -math.pi / 2, STANCE),
    "legs at odds": (2.0, 0.4, leg_to_motor(np.array([1.4, -1.4, 0.8, -0.8]), np.full(4, 1.2))),
    "wound up, belly": (0.0, 0.0, WOUND),
    "wound up, back": (math.pi, 0.0, WOUND),
}


@pytest.mark.parametrize("name", POSTURES)
def test_stands_up_from(name):
    robot = dropped(*POSTURES[name])
    stands, time_s, commands = stand_up(robot)
    robot.close()
    assert stands
    assert time_s < 12.0
    angles = np.stack([command.motor_angle_rad for command in commands])
    assert np.isfinite(angles).all()
    assert np.abs(np.diff(angles, axis=0)).max() <= FASTEST_RAD_S * PERIOD_S + 1e-9
    assert all(0.0 < command.kp <= 1.5 for command in commands)


def test_is_quick_when_it_stands_already():
    rng = np.random.default_rng(1)
    robot = make_robot()
    robot.place(np.array([0.0, 0.0, 0.24]), LEVEL, STANCE)
    for _ in range(4):
        posture = STANCE + rng.uniform(-0.3, 0.3, size=8)
        for _ in range(25):
            robot.command(MotorCommand(posture, kp=MINITAUR.kp, kd=MINITAUR.kd))
            robot.advance(PERIOD_S)
        stands, time_s, commands = stand_up(robot)
        assert stands
        # Near the stance it eases there; else it folds its legs and rises.
        near = commands[0].phase is StandUpPhase.READY
        assert time_s <= (0.5 if near else 1.0)
        angles = np.stack([command.motor_angle_rad for command in commands])
        assert np.abs(np.diff(angles, axis=0)).max() <= 16.0 * PERIOD_S + 1e-9
    robot.close()


def run_blind(script, state, limit_s=100.0):
    """Steps against a robot that does not move at all."""
    time_s = 0.0
    script.reset(state)
    while time_s < limit_s:
        command = script.step(state, time_s)
        assert np.isfinite(command.motor_angle_rad).all()
        if command.done or command.failed:
            return command, time_s
        time_s += PERIOD_S
    raise AssertionError("the script never ended")


@pytest.mark.parametrize("roll", [0.0, 0.6, math.pi / 2, -math.pi / 2, math.pi])
@pytest.mark.parametrize("motors", [STANCE, WOUND], ids=["stance", "wound"])
@pytest.mark.parametrize("attempts", [1, 5])
def test_gives_up_after_its_attempts_in_bounded_time(roll, motors, attempts):
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=attempts)
    command, time_s = run_blind(script, state_of(motors, quaternion(roll_rad=roll)))
    assert command.failed
    assert not command.done
    assert script.attempts == attempts
    # Splay 1 s, fold 0.6, four times probe (1.5), whip (0.7) and nudge (0.3), fold, rise, check.
    assert time_s < 13.5 * attempts
    again = script.step(state_of(motors), time_s + PERIOD_S)
    assert again.failed
    np.testing.assert_array_equal(again.motor_angle_rad, command.motor_angle_rad)


def test_legs_without_load_are_not_a_stance():
    """Level, calm and at the stance angles, but nothing sags: the robot hangs or lies."""
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=1)
    command, _ = run_blind(script, state_of(STANCE))
    assert command.failed


def test_a_loaded_level_calm_stance_is_done_soon():
    sagging = leg_to_motor(np.zeros(4), np.full(4, MINITAUR.stance_extension_rad - 0.15))
    command, time_s = run_blind(
        StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5), state_of(sagging), limit_s=1.0
    )
    assert command.done
    assert time_s <= 0.3


def test_a_straining_motor_is_spared_before_it_overheats():
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
    stuck = state_of(WOUND, quaternion(roll_rad=math.pi))
    script.reset(stuck)
    strained_s, longest_s = np.zeros(8), 0.0
    for i in range(60):
        command = script.step(stuck, i * PERIOD_S)
        strained = np.abs(command.motor_angle_rad - WOUND) * command.kp > 0.35
        strained_s = np.where(strained, strained_s + PERIOD_S, 0.0)
        longest_s = max(longest_s, float(strained_s.max()))
    assert 0.3 < longest_s < MINITAUR.overheat_s


def test_same_seed_same_commands():
    def commands(seed):
        script = StandUp(MINITAUR, np.random.default_rng(seed), max_attempts=5)
        state = state_of(FOLDED, quaternion(roll_rad=math.pi))
        script.reset(state)
        return np.stack([script.step(state, i * PERIOD_S).motor_angle_rad for i in range(400)])

    np.testing.assert_array_equal(commands(3), commands(3))
    assert any((commands(3) != commands(seed)).any() for seed in range(4, 8))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_states_that_are_not_finite(bad):
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
    script.reset(state_of(STANCE))
    broken = STANCE.copy()
    broken[2] = bad
    for state in (
        state_of(broken),
        state_of(STANCE, velocity=broken),
        state_of(STANCE, attitude=np.array([bad, 0.0, 0.0, 1.0])),
    ):
        with pytest.raises(Implausible):
            script.step(state, 0.02)
        with pytest.raises(Implausible):
            script.reset(state)


def test_needs_an_attempt():
    with pytest.raises(ValueError):
        StandUp(MINITAUR, np.random.default_rng(0), max_attempts=0)


def test_scripts_are_mirrored_by_side():
    phase = RollOverStep((1.0, 2.0), (-1.0, 0.5), 0.1)
    left_swing, left_extension = phase.legs(near_is_left=True)
    right_swing, right_extension = phase.legs(near_is_left=False)
    np.testing.assert_array_equal(left_swing, right_swing[[2, 3, 0, 1]])
    np.testing.assert_array_equal(left_extension, right_extension[[2, 3, 0, 1]])
    for script in (*FROM_BACK, *FROM_SIDE):
        assert sum(p.duration_s for p in script.phases) < 3.0
        assert script.rate_rad_s <= FASTEST_RAD_S


def test_legs_that_prop_themselves_or_jam_are_wrong():
    swing = np.array([0.1, 0.5, -0.5, 0.1, 0.4, 0.15])
    extension = np.array([0.0, 0.3, 0.3, -0.9, -0.3, 0.2])  # the last but one: pushed shut, tilted
    expected = [False, True, True, True, False, True]
    np.testing.assert_array_equal(wrong_way_round(swing, extension), expected)


def whipped(swing_error, extension_error, on_belly, way):
    moves = Moves(MINITAUR, StandUpSettings()).whip(
        np.asarray(swing_error), np.asarray(extension_error), on_belly, way
    )
    return [motor_to_leg(move.goal_rad) for move in moves]


@pytest.mark.parametrize("way", WHIPS)
def test_a_whip_moves_the_wrong_legs_alone_and_from_their_side(way):
    error, opened = [0.0, 0.5, -0.5, 0.1], [0.0, 0.3, 0.3, -1.6]
    for swing, extension in whipped(error, opened, False, way):
        assert swing[0] == pytest.approx(0.2)
        assert extension[0] == pytest.approx(1.6)
        assert swing[1] == pytest.approx(-swing[2])
    first_swing, first_extension = whipped(error, opened, False, way)[0]
    assert np.sign(first_swing[1]) == way.side  # +: to the side on which it props itself
    np.testing.assert_allclose(first_extension, [1.6, np.pi, np.pi, 0.0], atol=1e-12)
    mirrored = whipped([-e for e in error], opened, True, way)
    for (swing, _), (other, _) in zip(mirrored, whipped(error, opened, False, way), strict=True):
        np.testing.assert_allclose(np.pi - swing, other, atol=1e-12)


def phases_of(script, state, seconds, since_s):
    """The phases of the next seconds, against a robot that does not move."""
    times = since_s + PERIOD_S * np.arange(1, round(seconds / PERIOD_S))
    return [script.step(state, time_s).phase for time_s in times]


def test_it_waits_until_the_trunk_has_fallen():
    """Its legs beside the trunk, it leans as no robot can lie: it falls, and must not be rolled."""
    splayed = leg_to_motor(SPLAYED_RAD, np.full(4, SPLAYED_EXTENSION_RAD))
    leans, lies = (state_of(splayed, quaternion(roll_rad=roll)) for roll in (0.9, 1.4))
    for state, waits in ((leans, True), (lies, False)):
        script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
        script.reset(state)
        phases = phases_of(script, state, 0.5, 0.0)
        assert (phases[-1] is StandUpPhase.GATHER) is waits
    turning = replace(lies, angular_velocity_rad_s=np.array([1.5, 0.0, 0.0]))
    script.reset(turning)
    assert phases_of(script, turning, 0.5, 0.0)[-1] is StandUpPhase.GATHER


def test_a_trunk_that_is_askew_on_folded_legs_has_a_wrong_one():
    for roll, wrong in ((0.2, False), (0.6, True)):
        script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
        state = state_of(leg_to_motor(np.zeros(4), np.full(4, 1.0)), quaternion(roll_rad=roll))
        script.reset(state)
        phases = phases_of(script, state, 13.0, 0.0)
        fold = phases.index(StandUpPhase.FOLD)
        after = next(phase for phase in phases[fold:] if phase is not StandUpPhase.FOLD)
        assert after is (StandUpPhase.GATHER if wrong else StandUpPhase.RISE)
        assert (StandUpPhase.PROBE in phases[: phases.index(StandUpPhase.RISE)]) is wrong


def test_a_leg_that_a_whip_did_not_turn_is_whipped_otherwise():
    """The robot stays as it is, with a wrong leg: three whips, each its own way."""
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
    wound = state_of(WOUND, quaternion(roll_rad=math.pi))
    script.reset(wound)
    first_targets = []
    before = StandUpPhase.GATHER
    for k in range(400):
        command = script.step(wound, k * PERIOD_S)
        if before is not StandUpPhase.WHIP and command.phase is StandUpPhase.WHIP:
            whipping = [command]
        elif before is StandUpPhase.WHIP and command.phase is not StandUpPhase.WHIP:
            first_targets.append(np.stack([c.motor_angle_rad for c in whipping]))
        elif command.phase is StandUpPhase.WHIP:
            whipping.append(command)
        before = command.phase
    lengths = [len(targets) for targets in first_targets[:3]]
    spans = [targets.max(axis=0) - targets.min(axis=0) for targets in first_targets[:3]]
    assert len(spans) == 3
    assert lengths[1] > lengths[0]  # opened for longer
    assert np.abs(spans[2] - spans[0]).max() > 0.5  # from the other side


@pytest.mark.parametrize("late", [False, True], ids=["on the way", "while it is probed"])
def test_legs_that_turn_it_over_are_probed_anew(late):
    """A probe means nothing on a robot that lies otherwise than its legs were brought for."""
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
    belly, back = (state_of(WOUND, quaternion(roll_rad=roll)) for roll in (0.0, math.pi))
    script.reset(belly)
    time_s = 0.0
    since = StandUpPhase.PROBE if late else StandUpPhase.GATHER
    while script.step(belly, time_s).phase is not since:
        time_s += PERIOD_S
        assert time_s < 3.0
    probed = None
    for k in range(1, 60):
        command = script.step(back, time_s + k * PERIOD_S)
        if command.phase is StandUpPhase.WHIP:
            break
        probed = command
    assert probed is not None
    assert probed.phase is StandUpPhase.PROBE
    swing, _ = motor_to_leg(probed.motor_angle_rad)
    # The sky of a robot on its back; the other two legs still unwind.
    np.testing.assert_allclose(swing[[0, 3]], 0.2, atol=0.3)


@pytest.mark.parametrize("roll", [math.pi, math.pi / 2])
def test_a_roll_is_over_when_it_lies_flat_otherwise_than_before(roll):
    """From the back when it lies on its belly, from a side on its back too."""
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
    down = state_of(FOLDED, quaternion(roll_rad=roll))
    script.reset(down)
    time_s = 0.0
    while script.step(down, time_s).phase is not StandUpPhase.ROLL:
        time_s += PERIOD_S
        assert time_s < 5.0
    on_back = state_of(FOLDED, quaternion(roll_rad=math.pi))
    goes_on = script.step(on_back, time_s + PERIOD_S).phase is StandUpPhase.ROLL
    assert goes_on is (roll == math.pi)
    if goes_on:
        after = script.step(state_of(FOLDED), time_s + 2 * PERIOD_S).phase
        assert after is StandUpPhase.FOLD


@pytest.mark.parametrize("script", FROM_SIDE)
@pytest.mark.parametrize("lower", ["left", "right"])
def test_scripts_from_the_side_leave_it(script, lower):
    robot = make_robot()
    roll = -math.pi / 2 if lower == "left" else math.pi / 2
    splayed = leg_to_motor(SPLAYED_RAD, np.full(4, SPLAYED_EXTENSION_RAD))
    robot.place(np.array([0.0, 0.0, 0.2]), quaternion(roll_rad=roll), splayed)
    target = splayed.copy()
    rest = [Move(StandUpPhase.GATHER, splayed, 0.6, 20.0, 1.2, 0.02)]
    roll_over = Moves(MINITAUR, StandUpSettings()).roll(script, lower == "left", from_home=False)
    ups = []
    for move in (*rest, *roll_over):
        for _ in range(round(move.duration_s / PERIOD_S)):
            step = move.rate_rad_s * PERIOD_S
            target = target + np.clip(move.goal_rad - target, -step, step)
            robot.command(MotorCommand(target, kp=move.kp, kd=move.kd))
            robot.advance(PERIOD_S)
        ups.append(float(world_z_in_body(robot.true_state().quaternion_xyzw)[2]))
    robot.close()
    assert abs(ups[0]) < 0.35  # it lay on its side
    assert abs(ups[-1]) > 0.7


def test_a_nudge_turns_legs_that_did_not_close_further_and_keeps_the_others():
    whip_end = leg_to_motor(np.array([-1.57, 0.2, 1.57, 0.2]), np.array([2.0, 1.6, 2.0, 1.6]))
    first, last = Moves(MINITAUR, StandUpSettings()).nudge(whip_end, np.array([1.1, 0, -0.1, 0]))
    swing, extension = motor_to_leg(first.goal_rad)
    np.testing.assert_allclose(swing, [-1.97, 0.2, 1.57, 0.2])
    np.testing.assert_allclose(extension, [np.pi, 1.6, 2.0, 1.6])
    np.testing.assert_array_equal(last.goal_rad, whip_end)


def test_varied_scripts_stay_within_a_legs_range():
    rng = np.random.default_rng(0)
    script = FROM_SIDE[0]
    for _ in range(100):
        varied = script.varied(rng)
        assert varied != script
        assert len(varied.phases) == len(script.phases)
        for phase in varied.phases:
            assert 0.3 <= phase.near[1] <= 3.1
            assert 0.3 <= phase.far[1] <= 3.1
            assert phase.duration_s > 0.0


@pytest.mark.parametrize("low", ["left", "right"])
def test_a_leaning_robot_rises_and_does_not_roll_over(low):
    """As walks end: short legs on one side, long ones on the other. It folds them and rises."""
    extension = np.array([1.7, 1.7, 2.3, 2.3]) if low == "left" else np.array([2.3, 2.3, 1.7, 1.7])
    posture = leg_to_motor(np.array([0.5, -0.5, -0.5, 0.5]), extension)
    robot = make_robot()
    robot.place(np.array([0.0, 0.0, 0.24]), LEVEL, STANCE)
    for _ in range(25):
        robot.command(MotorCommand(posture, kp=MINITAUR.kp, kd=MINITAUR.kd))
        robot.advance(PERIOD_S)
    assert abs(roll_pitch_yaw(robot.true_state().quaternion_xyzw)[0]) > 0.3
    stands, time_s, commands = stand_up(robot)
    robot.close()
    assert stands
    assert time_s < 1.5
    assert StandUpPhase.ROLL not in {command.phase for command in commands}


@pytest.mark.parametrize("high", ["left", "front"])
def test_low_legs_push_and_high_legs_give(high):
    """Rising, the extension asked for differs by side, so that the trunk becomes level."""
    tilt = quaternion(roll_rad=0.3) if high == "left" else quaternion(pitch_rad=-0.3)
    script = StandUp(MINITAUR, np.random.default_rng(0), max_attempts=5)
    state = state_of(FOLDED, tilt)
    script.reset(state)
    for i in range(30):
        command = script.step(state, i * PERIOD_S)
    _, extension = motor_to_leg(command.motor_angle_rad)
    gives = [0, 1] if high == "left" else [0, 2]
    pushes = [2, 3] if high == "left" else [1, 3]
    assert extension[pushes].min() > extension[gives].max() + 0.1

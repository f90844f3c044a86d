# SPDX-License-Identifier: MIT
"""The twin as a robot: delays, noise, commands, stops, faults, frames and signs."""

import math

import numpy as np
import pybullet
import pytest
from bodies import MINITAUR
from twins import make_robot

from walkhome.hardware.body import SHANK_M, leg_to_motor, motor_to_leg, toe_position
from walkhome.hardware.robot import Fault, MotorCommand, Pose2D, RobotError, Stop
from walkhome.hardware.rotation import quaternion, roll_pitch_yaw, rotate_inverse
from walkhome.robot.config.resolve import resolve_config
from walkhome.sim.motor import MotorModel
from walkhome.sim.motor_controllers import SETTLE_KD, SETTLE_S
from walkhome.sim.terrain import Terrain
from walkhome.sim.twin import SimulationDiverged

DT_S = 0.002
LEVEL = [0.0, 0.0, 0.0, 1.0]
FIELDS = (
    "motor_angle_rad",
    "motor_velocity_rad_s",
    "motor_torque_nm",
    "motor_temperature_c",
    "attitude_xyzw",
    "angular_velocity_rad_s",
    "acceleration_m_s2",
)


def joints_of(state):
    """Angle and velocity of each motor, in the URDF's signs."""
    return list(zip(state.motor_angle_rad, state.motor_velocity_rad_s, strict=True))


@pytest.fixture
def floating(make_twin):
    """A twin in the air without gravity."""

    def make(attitude=LEVEL, motor_rad=None, **settings):
        twin = make_twin(**settings)
        pybullet.setGravity(0, 0, 0, physicsClientId=twin.client)
        twin.place([0, 0, 1.0], attitude, motor_rad)
        return twin

    return make


def spin(twin, world_rad_s):
    pybullet.resetBaseVelocity(twin.quadruped, [0, 0, 0], world_rad_s, physicsClientId=twin.client)


def block_motors(twin):
    """Block all joints of the robot against any torque."""
    for link in range(-1, pybullet.getNumJoints(twin.quadruped, physicsClientId=twin.client)):
        pybullet.changeDynamics(
            twin.quadruped, link, maxJointVelocity=1e-6, physicsClientId=twin.client
        )


# -- delays ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("latency_s", "steps"), [(0.02, 10), (0.0, 0), (0.006, 3)])
def test_a_read_is_exactly_as_old_as_the_latency(floating, command, latency_s, steps):
    twin = floating(sensor_latency_s=latency_s)
    true, seen = [twin.true_state()], [twin.read()]
    for step in range(40):
        if step == 15:
            twin.command(command(twin, np.full(8, 2.5)))
        twin.advance(DT_S)
        true.append(twin.true_state())
        seen.append(twin.read())
        assert seen[-1].age_s == latency_s
        assert seen[-1].time_s == pytest.approx(twin.time_s - latency_s)
    assert [state.motor_torque_nm.any() for state in true].index(True) == 16
    assert [state.motor_torque_nm.any() for state in seen].index(True) == 16 + steps
    for step in range(steps, 41):
        for name in ("motor_angle_rad", "motor_velocity_rad_s", "motor_torque_nm"):
            np.testing.assert_array_equal(
                getattr(seen[step], name), getattr(true[step - steps], name)
            )


def test_a_latency_between_two_steps_is_interpolated(floating, command):
    twin = floating(sensor_latency_s=0.005)
    twin.command(command(twin, np.full(8, 2.5)))
    true = []
    for _ in range(20):
        twin.advance(DT_S)
        true.append(twin.true_state().motor_angle_rad)
    np.testing.assert_allclose(twin.read().motor_angle_rad, (true[-3] + true[-4]) / 2, rtol=1e-12)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_the_motors_see_encoders_of_pd_latency_ago(floating, command, delay):
    twin = floating(pd_latency_s=delay * DT_S)
    model = MotorModel()
    states = [twin.true_state()] * (delay + 1)
    twin.command(command(twin, np.full(8, 2.0), kp=0.8, kd=0.01, valid_s=1.0))
    for _ in range(30):
        twin.advance(DT_S)
        seen, now = states[-1 - delay], states[-1]
        expected, _, _ = model.step(
            [2.0] * 8, joints_of(seen), joints_of(now), kp=0.8, kd=0.01, cap_nm=3.5
        )
        np.testing.assert_array_equal(twin.shaft_torque_nm, expected)
        states.append(twin.true_state())


# -- noise and determinism ---------------------------------------------------------------------


def reads_of(twin, command, others=()):
    """Bytes of all readings during two seconds of random actions."""
    rng = np.random.default_rng(7)
    out = []
    for _ in range(100):
        action = rng.uniform(-1, 1, 8)
        for robot in (*others, twin):
            robot.command(command(robot, action=action))
            robot.advance(0.02)
        state = twin.read()
        out.append(b"".join(np.asarray(getattr(state, name)).tobytes() for name in FIELDS))
    return out


def test_same_seed_same_bytes_whoever_else_lives(make_twin, command, shipped):
    first = reads_of(make_twin(noise=True, seed=3), command)
    other = make_twin(shipped("mattress"), noise=True, seed=8)
    assert reads_of(make_twin(noise=True, seed=3), command, [other]) == first


def test_another_seed_is_other_noise_on_the_same_motion(make_twin):
    one, other = make_twin(noise=True, seed=0), make_twin(noise=True, seed=1)
    for name in ("motor_angle_rad", "attitude_xyzw", "angular_velocity_rad_s"):
        assert (getattr(one.read(), name) != getattr(other.read(), name)).any()
    np.testing.assert_array_equal(one.true_state().position_m, other.true_state().position_m)


def test_noise_has_the_size_that_was_asked_for(make_twin):
    twin = make_twin(noise=True)
    settings, true = twin.settings, twin.true_state()
    states = [twin.read() for _ in range(600)]
    for name, expected, truth in (
        ("motor_angle_rad", settings.motor_angle_noise_rad, true.motor_angle_rad),
        ("motor_velocity_rad_s", settings.motor_velocity_noise_rad_s, np.zeros(8)),
        ("motor_torque_nm", settings.motor_torque_noise_nm, np.zeros(8)),
        ("angular_velocity_rad_s", settings.angular_velocity_noise_rad_s, np.zeros(3)),
    ):
        values = np.array([getattr(state, name) for state in states]) - truth
        assert values.std() == pytest.approx(expected, rel=0.1)
        assert abs(values.mean()) < 0.15 * expected
    angles = np.array([roll_pitch_yaw(state.attitude_xyzw) for state in states])
    assert angles.std(axis=0) == pytest.approx([settings.attitude_noise_rad] * 3, rel=0.15)
    assert np.linalg.norm(states[0].attitude_xyzw) == pytest.approx(1.0)


# -- commands and stops ------------------------------------------------------------------------


def test_an_old_command_is_damped_then_limp(floating, command):
    twin = floating(pd_latency_s=0.0)
    sent = twin.command(command(twin, np.full(8, 2.5), valid_s=0.1))
    assert sent.valid_s == 0.1
    driven, damped, limp = [], [], []
    model = MotorModel()
    for step in range(400):
        before = twin.true_state().motor_velocity_rad_s
        twin.advance(DT_S)
        torque = twin.shaft_torque_nm
        if step < 50:
            driven.append(np.abs(torque).max())
        elif step < 50 + SETTLE_S / DT_S:
            duty = [-SETTLE_KD * speed for speed in before]
            now = [(0.0, speed) for speed in before]
            np.testing.assert_allclose(torque, model.drive(duty, now, 3.5)[0], rtol=1e-12)
            damped.append(np.abs(before).max())
        else:
            limp.append(np.abs(torque).max())
    assert min(driven) > 0.0
    assert damped[-1] < 0.05 * damped[0]
    assert max(limp) == 0.0


def test_settle_damps_and_cut_does_not(make_twin, command, hold):
    for how in (Stop.SETTLE, Stop.CUT):
        twin = make_twin()
        hold(twin, 0.3)
        twin.command(command(twin, np.full(8, 2.6)))
        twin.advance(0.02)
        twin.stop(how)
        twin.advance(DT_S)
        assert twin.shaft_torque_nm.any() == (how is Stop.SETTLE)
        twin.advance(SETTLE_S)
        assert not twin.shaft_torque_nm.any()
        twin.command(command(twin))  # a stop is no fault: the next command works
        twin.advance(DT_S)
        assert twin.shaft_torque_nm.any()


def test_a_command_that_is_no_number_is_refused_and_the_old_one_stays(make_twin, command):
    twin = make_twin()
    twin.command(command(twin, np.full(8, 2.5), valid_s=1.0))
    bad = np.full(8, 2.0)
    bad[3] = math.nan
    for wrong in (
        command(twin, bad),
        command(twin, kp=math.inf),
        command(twin, kd=math.nan),
    ):
        with pytest.raises(ValueError, match="not finite"):
            twin.command(wrong)
    with pytest.raises(ValueError, match="shape"):
        twin.command(command(twin, np.full(7, 2.0)))
    twin.advance(DT_S)
    assert (twin.shaft_torque_nm > 0).all()


def test_the_torque_cap_holds(floating, command):
    twin = floating()
    twin.command(command(twin, np.full(8, 3.0), kp=5.0, torque_cap_nm=0.7))
    for _ in range(20):
        twin.advance(DT_S)
        assert np.abs(twin.shaft_torque_nm).max() <= 0.7


def test_stiffness_scales_with_the_battery(floating, command):
    torque = {}
    for volts in (8.0, 16.0):
        twin = floating(battery_v=volts)
        angle = twin.true_state().motor_angle_rad
        twin.command(command(twin, angle + 0.05, kp=1.0))
        twin.advance(DT_S)
        torque[volts] = twin.shaft_torque_nm
        assert twin.read().battery_v == volts
    np.testing.assert_allclose(torque[16.0], 2.0 * torque[8.0])


def test_a_blocked_motor_overheats_and_comes_back(floating, command):
    twin = floating()
    block_motors(twin)
    angle = twin.true_state().motor_angle_rad
    hot = angle + np.array([0.5, *[0.0] * 7])
    for step in range(50):
        assert twin.read().faults == Fault.NONE, step
        assert twin.shaft_torque_nm[0] > 2.45 or step == 0
        twin.command(command(twin, hot, kp=1.0))
        twin.advance(0.02)
    assert twin.read().faults == Fault.OVERHEAT
    assert not twin.shaft_torque_nm[0]
    warm = twin.read().motor_temperature_c
    assert warm[0] > warm[1] + 1.0
    for _ in range(25):
        twin.command(command(twin, hot, kp=1.0))
        twin.advance(0.02)
        assert not twin.shaft_torque_nm[0]
    assert twin.read().motor_temperature_c[0] < warm[0]  # a motor that is off cools
    for _ in range(85):
        twin.command(command(twin, angle + 0.05, kp=1.0))
        twin.advance(0.02)
    assert twin.read().faults == Fault.NONE
    assert twin.shaft_torque_nm[0] > 0.0


def test_divergence_is_an_error(make_twin):
    twin = make_twin()
    twin.advance(0.02)
    pybullet.resetBaseVelocity(twin.quadruped, [0, 0, 1e4], physicsClientId=twin.client)
    with pytest.raises(SimulationDiverged, match="diverged at t = "):
        twin.advance(0.02)


def test_a_placement_is_the_first_thing_or_nothing(make_twin):
    twin = make_twin()
    twin.place([1.0, 2.0, 0.3], quaternion(yaw_rad=0.5), None)
    pose = twin.latest()
    assert (pose.x_m, pose.y_m, pose.yaw_rad) == pytest.approx((1.0, 2.0, 0.5))
    twin.advance(DT_S)
    with pytest.raises(RobotError, match="placed already"):
        twin.place([0, 0, 0.3], LEVEL, None)


def test_closing_twice_is_fine(make_twin):
    twin = make_twin()
    twin.close()
    twin.close()


# -- frames and signs --------------------------------------------------------------------------


def test_at_rest_the_accelerometer_points_up(make_twin, hold):
    twin = make_twin()
    hold(twin, 1.5)
    state = twin.read()
    np.testing.assert_allclose(
        state.acceleration_m_s2,
        rotate_inverse(state.attitude_xyzw, np.array([0, 0, 9.81])),
        atol=0.1,
    )
    assert state.acceleration_m_s2[2] == pytest.approx(9.81, abs=0.1)
    assert np.abs(state.angular_velocity_rad_s).max() < 0.05


def test_in_free_fall_the_accelerometer_reads_nothing(make_twin):
    twin = make_twin()
    twin.place([0, 0, 2.0], quaternion(roll_rad=0.4, pitch_rad=-0.3, yaw_rad=1.0), None)
    twin.advance(0.1)
    np.testing.assert_allclose(twin.read().acceleration_m_s2, 0.0, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gyro_and_attitude_have_the_documented_signs(floating, axis):
    twin = floating(sensor_latency_s=0.0)
    rate = np.eye(3)[axis] * 0.5
    spin(twin, rate)
    twin.advance(0.1)
    state = twin.read()
    assert roll_pitch_yaw(state.attitude_xyzw)[axis] == pytest.approx(0.05, abs=0.01)
    assert state.angular_velocity_rad_s[axis] == pytest.approx(0.5, rel=0.1)


def test_the_gyro_turns_with_the_body(floating):
    twin = floating(attitude=quaternion(yaw_rad=math.pi / 2), sensor_latency_s=0.0)
    spin(twin, [0.5, 0, 0])  # about the world's x, which is the right-hand side of the robot
    twin.advance(DT_S)
    np.testing.assert_allclose(
        twin.read().angular_velocity_rad_s, [0.0, -0.5, 0.0], rtol=0.1, atol=0.01
    )


def feet_from_hips(twin):
    """x and z of each foot relative to its hip, (4, 2) m, body frame."""
    state = twin.true_state()
    feet = twin.model.foot_positions().mean(axis=1) - state.position_m
    feet = np.array([rotate_inverse(state.quaternion_xyzw, foot) for foot in feet])
    feet[:, 0] -= MINITAUR.hip_x_m * np.array([1, -1, 1, -1])
    return feet[:, [0, 2]]


@pytest.mark.parametrize("terrain", ["flat", "mattress", "doormat"])
def test_a_carried_twin_stands_at_its_place(terrain):
    config = resolve_config(flags={"terrain": terrain}).config
    twin = make_robot(Terrain(**config.terrain.model_dump()), carried=True)
    try:
        twin.advance(0.5)
        time_s, warm = twin.time_s, twin.read().motor_temperature_c
        twin.carry(Pose2D(1.0, -0.7, 2.0, 0.0))
        assert np.array_equal(twin.read().motor_temperature_c, warm)
        assert twin.time_s == time_s
        for _ in range(50):
            twin.command(MotorCommand(MINITAUR.stance_motor_rad(), kp=0.5, kd=0.005, valid_s=0.1))
            twin.advance(0.02)
        roll, pitch, _ = roll_pitch_yaw(twin.true_state().quaternion_xyzw)
        pose = twin.latest()
        assert abs(roll) < 0.1
        assert abs(pitch) < 0.1
        assert (pose.x_m, pose.y_m, pose.yaw_rad) == pytest.approx((1.0, -0.7, 2.0), abs=0.06)
        assert 0.1 < twin.true_state().position_m[2] < 0.3
    finally:
        twin.close()


def test_a_carried_twin_is_at_rest_and_a_saved_one_too():
    twin, other = make_robot(carried=True), make_robot(carried=True)
    try:
        twin.command(MotorCommand(MINITAUR.stance_motor_rad() + 0.3, kp=0.5, kd=0.005, valid_s=0.1))
        twin.advance(0.1)
        twin.carry(Pose2D(0.3, 0.2, 1.0, 0.0))
        state = twin.true_state()
        assert not state.velocity_m_s.any()
        assert not state.angular_velocity_rad_s.any()
        assert not state.motor_velocity_rad_s.any()
        assert not twin.shaft_torque_nm.any()
        saved = twin.state_dict()
        twin.load_state_dict(saved)
        other.load_state_dict(saved)
        for one in (twin, other):
            one.advance(0.2)
        assert np.array_equal(twin.true_state().position_m, other.true_state().position_m)
    finally:
        twin.close()
        other.close()


def test_nobody_carries_an_ordinary_twin(make_twin):
    twin = make_twin()
    before = twin.true_state().position_m
    with pytest.raises(RobotError, match="only moves by its motors"):
        twin.carry(Pose2D(1.0, 0.0, 0.0, 0.0))
    assert np.array_equal(twin.true_state().position_m, before)


def test_legs_have_their_places(make_twin):
    feet = make_twin().model.foot_positions().mean(axis=1)
    assert (np.sign(feet[:, 0]) == [1, -1, 1, -1]).all()  # front, back, front, back
    assert (np.sign(feet[:, 1]) == [1, 1, -1, -1]).all()  # left, left, right, right


@pytest.mark.parametrize(("swing", "extension"), [(0.0, 2.0), (0.4, 2.0), (-0.3, 1.5), (0.2, 2.5)])
def test_forward_kinematics_matches_the_urdf(floating, swing, extension):
    twin = floating(attitude=quaternion(roll_rad=0.2, pitch_rad=-0.4, yaw_rad=1.0))
    target = leg_to_motor(swing * np.array([1, 0.5, -0.5, -1]), np.full(4, extension))
    for _ in range(60):
        twin.command(MotorCommand(target, kp=1.0, kd=0.02))
        twin.advance(0.02)
    reached = motor_to_leg(twin.true_state().motor_angle_rad)
    np.testing.assert_allclose(reached, motor_to_leg(target), atol=0.03)
    x, z = toe_position(*reached, toe_m=SHANK_M)
    # The URDF's links are 115 and 200 mm, the published ones 112 and 199.
    np.testing.assert_allclose(feet_from_hips(twin), np.column_stack([x, z]), atol=0.004)


def test_swing_is_backward_and_extension_is_longer(floating):
    def foot(swing, extension):
        motor = leg_to_motor(np.full(4, swing), np.full(4, extension))
        return feet_from_hips(floating(motor_rad=motor))

    stance = foot(0.0, 2.0)
    assert (foot(0.3, 2.0)[:, 0] < stance[:, 0] - 0.03).all()
    assert (foot(0.0, 2.3)[:, 1] < stance[:, 1] - 0.03).all()

# SPDX-License-Identifier: MIT
import numpy as np
import pytest
from bodies import MINITAUR
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from walkhome.hardware.body import leg_to_motor, motor_to_leg
from walkhome.hardware.robot import Fault, RobotState
from walkhome.safety.command.limits import CommandLimiter, UnsafeCommand, motor_torque_nm

PERIOD_S = 0.02
STEP_RAD = MINITAUR.rate_limit_rad_s * PERIOD_S

finite = arrays(np.float64, 8, elements=st.floats(allow_nan=False, allow_infinity=False))
usual = arrays(np.float64, 8, elements=st.floats(-6.0, 6.0))
anything = st.one_of(finite, usual)
gains = st.floats(0.0, 2.0)


def state_of(angle, velocity=None):
    zero = np.zeros(8)
    return RobotState(
        time_s=0.0,
        motor_angle_rad=angle,
        motor_velocity_rad_s=zero if velocity is None else velocity,
        motor_torque_nm=zero,
        motor_temperature_c=zero + 25.0,
        attitude_xyzw=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity_rad_s=np.zeros(3),
        acceleration_m_s2=np.array([0.0, 0.0, 9.81]),
        battery_v=16.0,
        faults=Fault.NONE,
        age_s=0.0,
    )


def inside(motor_rad):
    swing, extension = motor_to_leg(motor_rad)
    return (
        np.all(np.abs(swing) <= MINITAUR.swing_limit_rad + 1e-6)
        and np.all(extension >= MINITAUR.extension_min_rad - 1e-6)
        and np.all(extension <= MINITAUR.extension_max_rad + 1e-6)
    )


@settings(max_examples=300)
@given(target=anything, start=anything, angle=anything, velocity=anything, kp=gains, kd=gains)
def test_any_finite_input_gives_a_finite_command(target, start, angle, velocity, kp, kd):
    limiter = CommandLimiter(MINITAUR, PERIOD_S)
    limiter.reset(start)
    safe, report = limiter.limit(target, state_of(angle, velocity), kp, kd)
    assert np.isfinite(safe).all()
    assert report.changed or bool((safe == target).all())


@given(targets=st.lists(anything, min_size=1, max_size=8))
def test_tracked_targets_stay_in_range_and_within_the_rate(targets):
    limiter = CommandLimiter(MINITAUR, PERIOD_S)
    last = MINITAUR.stance_motor_rad()
    limiter.reset(last)
    for target in targets:
        safe, _ = limiter.limit(target, state_of(last), 0.5, 0.005)
        assert inside(safe)
        assert np.abs(safe - last).max() <= STEP_RAD + 1e-9
        last = safe


@given(start=usual)
def test_from_outside_the_range_it_comes_back_at_the_limited_rate(start):
    limiter = CommandLimiter(MINITAUR, PERIOD_S)
    limiter.reset(start)
    last = start
    for _ in range(40):
        safe, _ = limiter.limit(MINITAUR.stance_motor_rad(), state_of(last), 0.5, 0.005)
        assert np.abs(safe - last).max() <= STEP_RAD + 1e-9
        last = safe
    np.testing.assert_array_equal(safe, MINITAUR.stance_motor_rad())


@given(
    target=usual,
    angle=usual,
    velocity=arrays(np.float64, 8, elements=st.floats(-30.0, 30.0)),
    cap=st.floats(0.1, 3.5),
    kp=st.floats(0.05, 2.0),
)
def test_estimated_torque_stays_under_the_cap_or_only_brakes(target, angle, velocity, cap, kp):
    limiter = CommandLimiter(MINITAUR, 10.0, torque_cap_nm=cap)
    safe, report = limiter.limit(target, state_of(angle, velocity), kp, 0.005)
    torque = motor_torque_nm(safe, angle, velocity, kp, 0.005)
    only_brakes = (torque * (safe - angle) <= 1e-9) & (torque * velocity <= 1e-9)
    assert (only_brakes | (np.abs(torque) <= cap + 1e-6)).all()
    if report.torque_motors == 0 and report.angle_legs == 0:
        np.testing.assert_array_equal(safe, target)


@given(
    swing=arrays(np.float64, 4, elements=st.floats(-3.1, 3.1)),
    extension=arrays(np.float64, 4, elements=st.floats(0.31, 2.79)),
)
def test_leaves_harmless_commands_alone(swing, extension):
    limiter = CommandLimiter(MINITAUR, PERIOD_S)
    target = leg_to_motor(swing, extension)
    limiter.reset(target)
    safe, report = limiter.limit(target, state_of(target), 0.5, 0.005)
    np.testing.assert_array_equal(safe, target)
    assert not report.changed


def test_report_counts_each_kind():
    limiter = CommandLimiter(MINITAUR, PERIOD_S, torque_cap_nm=0.1)
    stance = MINITAUR.stance_motor_rad()
    limiter.reset(stance)
    target = stance.copy()
    target[:2] += 2.0  # front left extends beyond its range, too fast, against a low cap
    safe, report = limiter.limit(target, state_of(stance), 0.5, 0.005)
    assert (report.angle_legs, report.rate_legs, report.torque_motors) == (1, 1, 2)
    assert (safe[:2] > stance[:2]).all()
    np.testing.assert_array_equal(safe[2:], stance[2:])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["target", "angle", "velocity", "kp", "kd", "reset"])
def test_not_finite_is_refused_and_the_limiter_stays_as_it_was(bad, where):
    limiter = CommandLimiter(MINITAUR, PERIOD_S)
    stance = MINITAUR.stance_motor_rad()
    limiter.reset(stance)
    broken = stance.copy()
    broken[5] = bad
    state = state_of(
        broken if where == "angle" else stance, broken if where == "velocity" else None
    )
    target = broken if where == "target" else stance
    kp = bad if where == "kp" else 0.5
    kd = bad if where == "kd" else 0.005
    if where == "reset":
        with pytest.raises(UnsafeCommand):
            limiter.reset(broken)
    else:
        with pytest.raises(UnsafeCommand):
            limiter.limit(target, state, kp, kd)
    np.testing.assert_array_equal(limiter.state_dict()["last_rad"], stance)


@given(last=usual)
def test_memory_can_be_saved(last):
    assume(np.isfinite(last).all())
    one, other = CommandLimiter(MINITAUR, PERIOD_S), CommandLimiter(MINITAUR, PERIOD_S)
    one.reset(last)
    other.load_state_dict(one.state_dict())
    target = MINITAUR.stance_motor_rad()
    first, _ = one.limit(target, state_of(last), 0.5, 0.005)
    second, _ = other.limit(target, state_of(last), 0.5, 0.005)
    np.testing.assert_array_equal(first, second)


def test_nonsense_construction_is_refused():
    for period_s, cap in ((0.0, 1.0), (np.nan, 1.0), (0.02, -1.0), (0.02, np.nan)):
        with pytest.raises(ValueError):
            CommandLimiter(MINITAUR, period_s, cap)

# SPDX-License-Identifier: MIT
"""The motor model against bullet3's; its table, the overheat guard and the thermal model."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.constants import CURRENT_TABLE_A, TORQUE_TABLE_NM
from walkhome.sim.motor import (
    AMBIENT_C,
    CASE_TO_AIR_K_W,
    CORE_TO_CASE_K_W,
    WINDING_OHM,
    MotorModel,
    OverheatGuard,
    ThermalModel,
    current_of,
    torque_of,
)

duties = st.floats(-1.0, 1.0)
speeds = st.floats(-200.0, 200.0)
AT_REST = [(0.0, 0.0)] * 2


def at_speed(velocity_rad_s):
    """Joints of these speeds; the torque does not depend on the shaft angle."""
    return [(0.3, speed) for speed in velocity_rad_s]


@pytest.mark.parametrize("battery_v", [10.0, 16.0])
def test_equals_bullet3(bullet3, battery_v):
    rng = np.random.default_rng(0)
    reference = bullet3.motor.MotorModel(kp=1.0, kd=0.0)
    reference.set_voltage(battery_v)
    reference.set_strength_ratios([0.8] * 8)
    ours = MotorModel(battery_v, strength=0.8)
    for scale in (0.01, 0.3, 3.0):
        for _ in range(100):
            target, angle = rng.normal(0, scale, (2, 8))
            velocity, true_velocity = rng.normal(0, 30 * scale, (2, 8))
            kp, kd = rng.uniform(0, 2), rng.uniform(0, 0.05)
            torque, observed = reference.convert_to_torque(
                target, angle, velocity, true_velocity, kp, kd
            )
            felt, now = list(zip(angle, velocity, strict=True)), at_speed(true_velocity)
            shaft, _, reported = ours.step(target, felt, now, kp=kp, kd=kd)
            np.testing.assert_allclose(shaft, torque, rtol=1e-14)
            np.testing.assert_allclose(reported, observed, rtol=1e-14)


def test_table_and_plateau():
    for current, torque in zip(CURRENT_TABLE_A, TORQUE_TABLE_NM, strict=True):
        assert torque_of(current) == pytest.approx(torque)
        assert current_of(torque) == pytest.approx(current)
    assert torque_of(25.0) == pytest.approx((1.9 + 2.45) / 2)
    assert torque_of(1e6) == 3.5


@given(duties, speeds, st.floats(0.0, 5.0))
def test_torque_is_bounded_and_opposes_what_drives_too_fast(duty, speed, cap):
    (torque,), (current,), _ = MotorModel().drive([duty], at_speed([speed]), cap)
    assert abs(torque) <= min(cap, 3.5)
    assert current >= 0.0
    volts = 16.0 * duty - 0.0954 * speed
    assert torque * volts >= 0.0
    assert torque_of(current) == pytest.approx(abs(torque), abs=1e-12)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_duty_never_gives_less_torque(one, other):
    torques = MotorModel().drive(sorted((one, other)), AT_REST)[0]
    assert torques[0] <= torques[1]


@given(duties, speeds)
def test_left_and_right_turns_are_alike(duty, speed):
    torques, _, reported = MotorModel().drive([duty, -duty], at_speed([speed, -speed]))
    assert torques[0] == -torques[1]
    assert reported[0] == -reported[1]


def test_no_torque_at_the_speed_where_back_emf_meets_the_battery():
    free_speed = 16.0 / 0.0954
    assert MotorModel().drive([1.0], at_speed([free_speed]))[0][0] == pytest.approx(0.0, abs=1e-9)
    assert MotorModel().drive([1.0], at_speed([free_speed / 2]))[0][0] > 0.5


def test_duty_is_clipped_and_a_battery_scales_the_stiffness():
    far = MotorModel().step([100.0, -100.0], AT_REST, AT_REST, kp=1.0, kd=0.0)
    assert far == MotorModel().drive([1.0, -1.0], AT_REST)
    soft, stiff = (MotorModel(volts).drive([0.05], at_speed([0.0]))[0][0] for volts in (8.0, 16.0))
    assert stiff == pytest.approx(2 * soft)


def test_not_a_number_does_not_stop_the_controller():
    # The twin's own check of its state tells of it, with a better message.
    lost = [(math.nan, math.nan)]
    assert len(MotorModel().step([0.0], lost, lost, kp=1.0, kd=0.0)[0]) == 1


def run(guard, torque, seconds, dt=0.002):
    """The last result of a guard that gets one torque for some time."""
    for _ in range(round(seconds / dt)):
        on = guard.enabled(torque, dt)
    return on


def test_guard_trips_after_a_second_and_comes_back():
    guard = OverheatGuard(2, torque_nm=2.45, time_s=1.0, recovery_s=2.0)
    assert run(guard, [2.5, -2.5], 0.99) == [True, True]
    assert not guard.any_off
    assert run(guard, [2.5, 0.1], 0.02) == [False, True]
    assert guard.any_off
    # What the motor is asked for while it is off does not heat it.
    assert run(guard, [2.5, 0.1], 1.9) == [False, True]
    assert run(guard, [2.5, 0.1], 0.12) == [True, True]
    assert not guard.any_off
    assert run(guard, [-2.5, 0.1], 1.02) == [False, True]


def test_guard_forgives_a_short_break():
    guard = OverheatGuard(1, torque_nm=2.45, time_s=1.0)
    for _ in range(5):
        assert run(guard, [3.0], 0.9) == [True]
        assert run(guard, [2.4], 0.01) == [True]


def test_heat_settles_where_the_two_resistances_say():
    heat = ThermalModel(1)
    current = 10.0
    for _ in range(4_000):
        heat.advance(np.array([current**2]), 5.0)
    loss_w = WINDING_OHM * current**2
    expected = AMBIENT_C + loss_w * (CORE_TO_CASE_K_W + CASE_TO_AIR_K_W)
    assert heat.core_c[0] == pytest.approx(expected, rel=1e-6)


def test_heat_starts_with_the_copper_loss():
    heat = ThermalModel(2)
    heat.advance(np.array([400.0, 0.0]), 0.1)
    assert heat.core_c[0] - AMBIENT_C == pytest.approx(400 * WINDING_OHM * 0.1 / 88.63)
    assert heat.core_c[1] == AMBIENT_C


@given(
    st.lists(
        st.lists(st.sampled_from([-3.0, -2.45, 0.0, 2.4, 2.45, 3.0]), min_size=2, max_size=2),
        max_size=80,
    )
)
def test_a_guard_that_looks_away_while_all_is_cold_sees_as_much(torques):
    guard, twin = (OverheatGuard(2, torque_nm=2.45, time_s=0.1, recovery_s=0.2) for _ in range(2))
    for torque in torques:
        # One that goes on from its own state has to look at every motor.
        fresh = OverheatGuard(2, torque_nm=2.45, time_s=0.1, recovery_s=0.2)
        fresh.load_state_dict(twin.state_dict())
        fresh._cold = False
        assert list(guard.enabled(torque, 0.02)) == list(fresh.enabled(torque, 0.02))
        assert guard.state_dict() == fresh.state_dict()
        assert guard.any_off == fresh.any_off
        twin = fresh

# SPDX-License-Identifier: MIT
"""Freshness, age, losses and damage of STATE frames."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.serial.protocol import MessageType, decode, encode
from walkhome.hardware.serial.telemetry import CLOCK_WINDOW_S, PERIODS, BoardClock, Telemetry
from walkhome.hardware.serial.wiring import Wiring

FIELDS = {
    "session": 1,
    "last_seq": 0,
    "mode": 0,
    "armed": 0,
    "faults": 0,
    "accepted": 0,
    "refused": 0,
    "damaged": 0,
    "battery_v": 16.0,
    "battery_a": 0.0,
    "angle_rad": [0.0] * 8,
    "velocity_rad_s": [0.0] * 8,
    "current_a": [0.0] * 8,
    "temperature_c": [25.0] * 8,
    "attitude_xyzw": [0.0, 0.0, 0.0, 1.0],
    "angular_velocity_rad_s": [0.0] * 3,
    "acceleration_m_s2": [0.0, 0.0, 9.81],
}


def frame(seq, time_us, **changes):
    return decode(encode(MessageType.STATE, {**FIELDS, **changes}, seq, time_us)[:-1])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_the_boards_clock_wraps(start, steps):
    clock, now_us = BoardClock(), start
    clock.take(start, 0.0)
    for step in steps:
        now_us += step
        assert clock.newer(now_us & 0xFFFFFFFF)
        clock.take(now_us & 0xFFFFFFFF, 0.0)
    np.testing.assert_allclose(clock.board_s, sum(steps) * 1e-6)


def test_a_late_frame_is_as_old_as_it_is_late():
    clock = BoardClock()
    for k in range(100):
        late_s = 0.05 if k == 60 else 0.002
        ours_s = clock.take(k * 10_000, 7.0 + 0.01 * k + late_s)
        np.testing.assert_allclose(7.0 + 0.01 * k + late_s - ours_s, late_s - 0.002, atol=1e-9)


def test_a_board_that_slows_down_is_followed():
    """Ages become small again after a board, such as an emulated one under load, slows down."""
    clock = BoardClock()
    for k in range(1000):
        arrival_s = 0.01 * k + (0.3 if k >= 100 else 0.0)
        age_s = arrival_s - clock.take(k * 10_000, arrival_s)
        if k == 100:
            assert age_s > 0.29
    assert 2 * CLOCK_WINDOW_S < 0.01 * 900
    assert age_s < 1e-6


def test_repeated_and_reordered_frames_are_stale():
    heard = Telemetry(Wiring())
    for seq, time_us in ((10, 1000), (10, 1000), (9, 900), (11, 900), (12, 1000), (13, 2000)):
        heard.take(frame(seq, time_us), 1.0)
    assert (heard.fresh, heard.stale) == (2, 4)


def test_the_period_is_that_of_the_board_whatever_is_lost_or_late():
    telemetry, rng = Telemetry(Wiring()), np.random.default_rng(0)
    for k in range(600):
        if k % 7 == 3:
            continue
        if k < PERIODS:
            assert telemetry.period_s is None
        late_s = 0.002 + 0.004 * rng.random() * (k % 3 > 0)
        telemetry.take(frame(k, 12_500 * k), 3.0 + 0.0125 * k + late_s)
    np.testing.assert_allclose(telemetry.period_s, 0.0125, atol=1e-9)


def test_gaps_are_lost_frames_and_the_counter_wraps():
    heard = Telemetry(Wiring())
    for k, seq in enumerate((65533, 65534, 1, 2)):
        heard.take(frame(seq, 1000 * (k + 1)), 1.0)
    assert (heard.fresh, heard.lost) == (4, 2)


def test_torque_follows_the_motors_curve():
    heard = Telemetry(Wiring())
    heard.take(frame(1, 1, current_a=[0.0, 10.0, -10.0, 30.0, -60.0, 100.0, 5.0, -5.0]), 1.0)
    expected = [0.0, 1.0, -1.0, 2.45, -3.5, 3.5, 0.5, -0.5]
    np.testing.assert_allclose(heard.state.motor_torque_nm, expected)


def test_what_is_damaged_is_borne_up_to_a_fifth_here_and_on_the_board():
    telemetry = Telemetry(Wiring())
    for seq in range(500):
        telemetry.take(frame(seq, seq * 10_000), seq * 0.01)
        telemetry.count_damaged(seq % 5 == 0)
    assert (telemetry.damaged, telemetry.damage.reached) == (100, False)
    for seq in range(500, 530):  # every third on the board's side, and a new count is none of it
        damaged = 1000 + (seq - 500) // 2
        telemetry.take(frame(seq, seq * 10_000, session=2, damaged=damaged), seq * 0.01)
    assert telemetry.damaged == 114
    for seq in range(530, 560):
        telemetry.take(frame(seq, seq * 10_000, session=2, damaged=damaged + seq - 529), seq * 0.01)
    assert telemetry.damage.reached

# SPDX-License-Identifier: MIT
"""Gait analysis recovers strides, duty factors and phases of synthetic gaits."""

import math

import numpy as np
import pytest
from bodies import MINITAUR
from hypothesis import assume, given
from hypothesis import strategies as st

from walkhome.hardware.body import leg_to_motor, motor_to_leg, toe_position
from walkhome.hardware.rotation import quaternion, rotate_inverse
from walkhome.robot.evaluation.gait import (
    LEAVES_N,
    PATTERNS,
    TOUCHES_N,
    analyse,
    circular_mean,
    foot_force_of_torque_n,
    on_ground,
    on_ground_by_torque,
    pattern_name,
    phase_difference,
    relative_phases,
    stride_mean,
    toe_paths,
    touch_downs,
    without_chatter,
)

PERIOD_S = 0.002


def made_up(stride_hz, duty, phase, seconds=4.0, start=0.37):
    """(n, 4) contacts of a perfect gait that is `start` strides into one."""
    share = np.arange(round(seconds / PERIOD_S)) * PERIOD_S * stride_hz + start
    return np.stack([((share - p) % 1.0) < d for p, d in zip(phase, duty, strict=True)], axis=1)


rates = st.floats(0.8, 4.0)
duties = st.floats(0.25, 0.75)
starts = st.floats(0.0, 1.0)


@given(st.sampled_from(sorted(PATTERNS)), rates, duties, starts)
def test_named_gaits_are_recognised(name, stride_hz, duty, start):
    gait = analyse(made_up(stride_hz, [duty] * 4, PATTERNS[name], start=start), PERIOD_S)
    walks = gait.duty_factor.mean() >= 0.5
    names = {
        "trot": "walking trot" if walks else "running trot",
        "pace": "walking pace" if walks else "running pace",
        "lateral sequence": "lateral-sequence walk" if walks else "lateral-sequence run",
    }
    assert gait.name == names.get(name, name)
    np.testing.assert_allclose(gait.stride_hz, stride_hz, rtol=0.02)
    np.testing.assert_allclose(gait.duty_factor, duty, atol=0.02)
    assert phase_difference(gait.phase, np.array(PATTERNS[name])).max() < 0.02
    assert gait.steadiness.min() > 0.99
    assert gait.stride_rate_hz == pytest.approx(stride_hz, rel=0.02)
    assert gait.step_rate_hz == pytest.approx(4 * stride_hz, rel=0.02)


@given(rates, st.lists(duties, min_size=4, max_size=4), starts,
       st.lists(st.floats(0.0, 0.999), min_size=3, max_size=3))  # fmt: skip
def test_any_duty_and_phase_is_found(stride_hz, duty, start, later):
    phase = np.array([0.0, *later])
    gait = analyse(made_up(stride_hz, duty, phase, start=start), PERIOD_S)
    np.testing.assert_allclose(gait.duty_factor, duty, atol=0.02)
    assert phase_difference(gait.phase, phase).max() < 0.02


@given(rates, duties, st.integers(0, 10_000))
def test_chatter_changes_nothing(stride_hz, duty, seed):
    assume(min(duty, 1 - duty) / stride_hz > 0.15)
    clean = made_up(stride_hz, [duty] * 4, PATTERNS["trot"])
    noisy, rng = clean.copy(), np.random.default_rng(seed)
    for leg in range(4):
        for edge in np.flatnonzero(np.diff(clean[:, leg])):
            noisy[edge + 3 : edge + 3 + rng.integers(0, 7), leg] ^= True  # up to 12 ms
    known, seen = analyse(clean, PERIOD_S), analyse(noisy, PERIOD_S)
    np.testing.assert_allclose(seen.stride_hz, known.stride_hz, rtol=0.03)
    np.testing.assert_allclose(seen.duty_factor, known.duty_factor, atol=0.07)
    assert seen.name in ("walking trot", "running trot")


def test_a_short_gap_and_a_short_touch_are_taken_out_and_the_ends_left():
    foot = np.array([1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], bool)
    out = without_chatter(foot, 0.01, 0.03)
    assert out.astype(int).tolist() == [1] * 12 + [0] * 10 + [1]
    np.testing.assert_array_equal(touch_downs(out), [22])


def test_legs_that_never_move_have_no_strides():
    contact = np.zeros((500, 4), bool)
    contact[:, 1] = True
    gait = analyse(contact, PERIOD_S)
    assert np.isnan(gait.stride_hz).all()
    np.testing.assert_array_equal(gait.duty_factor, [0, 1, 0, 0])
    assert gait.name == "irregular"
    assert math.isnan(gait.stride_rate_hz)
    assert gait.step_rate_hz == 0.0


def test_legs_of_different_rates_have_no_phase():
    contact = np.stack([made_up(f, [0.5] * 4, [0] * 4, 20.0)[:, 0] for f in (2, 2.3, 1.7, 2.9)])
    gait = analyse(contact.T, PERIOD_S)
    np.testing.assert_allclose(gait.stride_hz, [2, 2.3, 1.7, 2.9], rtol=0.02)
    assert gait.steadiness[1:].max() < 0.5
    assert gait.name == "irregular"


def test_phases_between_two_names_have_none():
    steady = np.ones(4)
    assert pattern_name(np.array([0.0, 0.25, 0.5, 0.25]), steady, 0.6) == "irregular"
    assert pattern_name(np.array([0.0, 0.45, 0.55, 0.05]), steady, 0.6) == "walking trot"


def test_a_walk_is_on_the_ground_half_of_the_time():
    steady = np.ones(4)
    for name, walk, run in (
        ("trot", "walking trot", "running trot"),
        ("pace", "walking pace", "running pace"),
        ("lateral sequence", "lateral-sequence walk", "lateral-sequence run"),
        ("bound", "bound", "bound"),
    ):
        phase = np.array(PATTERNS[name])
        assert pattern_name(phase, steady, 0.5) == walk
        assert pattern_name(phase, steady, 0.49) == run


@given(st.floats(0, 1), st.floats(0, 0.2))
def test_means_go_round_the_circle(centre, half):
    mean, length = circular_mean(np.array([centre - half, centre + half]))
    assert phase_difference(np.array(mean), np.array(centre)) < 1e-9
    assert length == pytest.approx(math.cos(2 * math.pi * half))
    assert 0.0 <= mean < 1.0


def test_a_mean_just_below_zero_is_zero():
    mean, _ = circular_mean(np.array([0.0, 1.0 - 1e-17, -1e-18]))
    assert 0.0 <= mean < 1.0
    assert circular_mean(np.array([-1e-18]))[0] == 0.0


def test_a_leg_s_phase_counts_in_the_reference_s_stride():
    parts = relative_phases(np.array([0, 100, 300]), np.array([-5, 25, 150, 290, 300]))
    np.testing.assert_allclose(parts, [0.25, 0.25, 0.95])


def test_forces_below_a_newton_are_no_contact():
    assert on_ground(np.array([[0.0, 0.9, 1.1, 50.0]])).tolist() == [[False, False, True, True]]


forces = st.lists(st.floats(-40.0, 40.0), min_size=4, max_size=4)


@given(
    st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4),
    st.lists(st.floats(1.5, 2.5), min_size=4, max_size=4),
    forces,
    forces,
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
)
def test_forces_are_recovered_from_the_torques_that_hold_them(
    swing, extension, along, up, roll, pitch
):
    """Virtual work: the torques' work equals the work of the foot's force on the ground."""
    angle = leg_to_motor(np.array(swing), np.array(extension))
    torque = np.zeros(8)
    for motor in range(8):
        turn = 1e-6 * np.eye(8)[motor]
        after, before = (toe_position(*motor_to_leg(angle + sign * turn)) for sign in (1.0, -1.0))
        moved_x, moved_z = np.subtract(after, before) / 2e-6
        torque[motor] = -(np.dot(moved_x, along) + np.dot(moved_z, up))
    level = foot_force_of_torque_n(angle[None], torque[None], np.zeros((1, 2)))
    np.testing.assert_allclose(level[0], up, atol=1e-5)
    tilted = foot_force_of_torque_n(angle[None], torque[None], np.array([[roll, pitch]]))
    # The part of the force along the world's vertical; a leg gives none sideways.
    x, _, z = rotate_inverse(
        quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=0.3), np.array([0.0, 0.0, 1.0])
    )
    np.testing.assert_allclose(tilted[0], x * np.array(along) + z * np.array(up), atol=1e-5)


def test_a_straight_leg_has_no_estimated_force():
    angle = leg_to_motor(np.zeros((1, 4)), np.full((1, 4), math.pi))
    force = foot_force_of_torque_n(angle, np.ones((1, 8)), np.zeros((1, 2)))
    np.testing.assert_array_equal(force, np.zeros((1, 4)))


def test_estimated_contacts_have_hysteresis():
    between = 0.5 * (TOUCHES_N + LEAVES_N)
    force = np.array([LEAVES_N - 1, between, TOUCHES_N + 1, between, LEAVES_N - 1, between])
    found = on_ground_by_torque(np.repeat(force[:, None], 4, axis=1))
    assert found[:, 0].tolist() == [False, False, True, True, False, False]
    assert (found == found[:, :1]).all()
    assert on_ground_by_torque(np.zeros((0, 4))).shape == (0, 4)


def test_toes_stand_under_their_hips_in_the_stance():
    paths = toe_paths(MINITAUR.stance_motor_rad()[None], MINITAUR)
    np.testing.assert_allclose(paths[0, :, 0], [0.21, -0.21, 0.21, -0.21], atol=0.02)
    assert (paths[0, :, 1] < -0.15).all()
    back = toe_paths(leg_to_motor(np.full((1, 4), 0.3), np.full((1, 4), 2.0)), MINITAUR)
    assert (back[0, :, 0] < paths[0, :, 0]).all()  # swing is toward the back


def test_the_mean_stride_is_the_stride():
    downs = np.arange(0, 1001, 100)
    values = np.sin(2 * math.pi * np.arange(1001) / 100)
    mean, spread = stride_mean(values, downs)
    np.testing.assert_allclose(mean, values[:100], atol=1e-9)
    assert spread.max() < 1e-9
    assert np.isnan(stride_mean(values, downs[:1])[0]).all()

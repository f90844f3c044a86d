# SPDX-License-Identifier: MIT
"""The twin's physics: falls, energy, five-bar loops, rest."""

import numpy as np
import pybullet
import pytest

from walkhome.hardware.body import leg_to_motor
from walkhome.hardware.rotation import quaternion

DT_S = 0.002
G = 9.81


def energy_j(twin):
    """Kinetic and potential energy of all links, without the elastic energy of contacts."""
    client, robot = twin.client, twin.quadruped
    total = 0.0
    for link in range(-1, pybullet.getNumJoints(robot, physicsClientId=client)):
        mass, _, inertia = pybullet.getDynamicsInfo(robot, link, physicsClientId=client)[:3]
        if link < 0:
            place = pybullet.getBasePositionAndOrientation(robot, physicsClientId=client)
            speed = pybullet.getBaseVelocity(robot, physicsClientId=client)
        else:
            state = pybullet.getLinkState(
                robot, link, computeLinkVelocity=1, computeForwardKinematics=1,
                physicsClientId=client,
            )  # fmt: skip
            place, speed = state[0:2], state[6:8]
        turn = np.reshape(pybullet.getMatrixFromQuaternion(place[1]), (3, 3))
        spin = turn.T @ speed[1]
        total += 0.5 * mass * np.dot(speed[0], speed[0]) + 0.5 * np.dot(spin * inertia, spin)
        total += mass * G * place[0][2]
    return total


def total_mass_kg(twin):
    links = range(-1, pybullet.getNumJoints(twin.quadruped, physicsClientId=twin.client))
    return sum(
        pybullet.getDynamicsInfo(twin.quadruped, link, physicsClientId=twin.client)[0]
        for link in links
    )


def test_it_weighs_six_kilograms(make_twin):
    assert total_mass_kg(make_twin()) == pytest.approx(6.0, abs=0.3)
    assert total_mass_kg(make_twin(mass_scale=1.2)) == pytest.approx(
        total_mass_kg(make_twin()) + 0.2 * 3.0  # the trunk's 3 kg
    )


def test_it_falls_as_everything_does(make_twin):
    twin = make_twin()
    twin.place([0, 0, 5.0], quaternion(roll_rad=0.3, pitch_rad=-0.2, yaw_rad=0.8), None)
    twin.advance(0.5)
    n = round(0.5 / DT_S)
    # Bullet's steps are semi-implicit: g dt^2 n (n + 1) / 2.
    expected = 5.0 - G * DT_S**2 * n * (n + 1) / 2
    assert twin.true_state().position_m[2] == pytest.approx(expected, abs=2e-4)
    assert twin.true_state().velocity_m_s[2] == pytest.approx(-G * 0.5, abs=2e-3)


def test_in_the_air_nothing_feeds_it(make_twin):
    twin = make_twin()
    twin.place(
        [0, 0, 20.0],
        quaternion(roll_rad=0.3, pitch_rad=0.2, yaw_rad=0.1),
        leg_to_motor(np.zeros(4), np.full(4, 1.8)),
    )
    pybullet.resetBaseVelocity(twin.quadruped, [1, 0, 2], [1, 2, 0.5], physicsClientId=twin.client)
    start = energy_j(twin)
    for _ in range(20):
        twin.advance(0.02)
        assert start - 1.0 < energy_j(twin) < start + 0.01


@pytest.mark.parametrize("name", ["flat", "mattress", "doormat"])
def test_limp_on_the_ground_it_never_has_more_than_it_came_with(make_twin, shipped, name):
    twin = make_twin(shipped(name))
    twin.place(
        [0, 0, 0.4],
        quaternion(roll_rad=0.3, pitch_rad=0.2),
        leg_to_motor(np.zeros(4), np.full(4, 1.8)),
    )
    start = energy_j(twin)
    seen = []
    for _ in range(50):
        twin.advance(0.02)
        seen.append(energy_j(twin))
    assert max(seen) < start + 0.01
    assert seen[-1] < 0.5 * start


def worst_gap_m(twin, command, seconds, smooth):
    """Largest distance between the joined ends of two shanks."""
    rng = np.random.default_rng(0)
    action, worst = np.zeros(8), 0.0
    for _ in range(round(seconds / 0.02)):
        action = smooth * action + (1.0 - smooth) * rng.uniform(-1, 1, 8)
        twin.command(command(twin, action=action))
        twin.advance(0.02)
        feet = twin.model.foot_positions()
        worst = max(worst, np.linalg.norm(feet[:, 0] - feet[:, 1], axis=1).max())
    return worst


def test_five_bar_loops_stay_closed(make_twin, command):
    assert worst_gap_m(make_twin(), command, 2.0, smooth=0.6) < 0.002
    assert worst_gap_m(make_twin(), command, 2.0, smooth=0.0) < 0.004


def test_loops_are_closed_at_any_placement(make_twin):
    rng = np.random.default_rng(1)
    for _ in range(5):
        twin = make_twin()
        motor = leg_to_motor(rng.uniform(-1, 1, 4), rng.uniform(0.5, 2.6, 4))
        twin.place([0, 0, 1], [0, 0, 0, 1], motor)
        feet = twin.model.foot_positions()
        assert np.linalg.norm(feet[:, 0] - feet[:, 1], axis=1).max() < 0.002


@pytest.mark.parametrize("name", ["flat", "mattress", "doormat"])
def test_dropped_it_comes_to_rest_on_its_feet(make_twin, shipped, hold, name):
    twin = make_twin(shipped(name))
    twin.place([0, 0, 0.5], [0, 0, 0, 1], None)
    hold(twin, 2.5)
    state = twin.true_state()
    assert np.abs(state.velocity_m_s).max() < 0.05
    assert 0.14 < state.position_m[2] < 0.21
    lowest = twin.model.foot_positions()[..., 2].min()
    assert -0.045 < lowest < 0.01 if name == "mattress" else -0.014 < lowest < 0.01


@pytest.mark.parametrize("name", ["flat", "mattress", "doormat"])
def test_violent_commands_do_not_blow_it_up(make_twin, shipped, command, name):
    twin = make_twin(shipped(name))
    rng = np.random.default_rng(5)
    for step in range(100):
        if step % 3 == 0:
            target = leg_to_motor(rng.uniform(-1.5, 1.5, 4), rng.uniform(0.4, 2.7, 4))
        twin.command(command(twin, target, kp=1.0, kd=0.01))
        twin.advance(0.02)
        state = twin.true_state()
        assert np.abs(state.velocity_m_s).max() < 4.0
        assert 0.0 < state.position_m[2] < 0.5

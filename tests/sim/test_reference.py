# SPDX-License-Identifier: MIT
"""The twin against bullet3's own `Minitaur`: same URDF, ground, solver, gains, delays, commands.

Motion and reported torques agree in every bit. The reference is bullet3's own code, unchanged: the
twin sets joint damping to zero, which has no effect, because the URDF has none. bullet3's
`_RemoveDefaultJointDamping` uses joint numbers as body numbers, and clears the damping of body 1
only because that is the robot: the ground must stay body 0.
"""

import functools

import numpy as np
import pybullet
import pybullet_data
import pytest
from bodies import MINITAUR
from twins import make_terrain

from walkhome.hardware.constants import GRAVITY_M_S2
from walkhome.hardware.robot import MotorCommand
from walkhome.sim.terrain import build

DT_S = 0.002
STEPS = 300
ITERATIONS = 30


class Client:
    """PyBullet with a fixed client id; `pybullet_utils.bullet_client` does it too, but prints."""

    def __init__(self):
        self.id = pybullet.connect(pybullet.DIRECT)

    def __getattr__(self, name):
        attribute = getattr(pybullet, name)
        if callable(attribute):
            return functools.partial(attribute, physicsClientId=self.id)
        return attribute


def stance(_time_s):
    return MINITAUR.stance_motor_rad()


def trot(time_s):
    phase = 2.0 * np.pi * 2.0 * time_s
    diagonal = np.array([1.0, -1.0, -1.0, 1.0])
    return MINITAUR.action_to_motor(
        np.concatenate([np.sin(phase) * diagonal, np.cos(phase) * diagonal])
    )


def far(time_s):
    """Commands that saturate the motors."""
    return np.full(8, 1.6) + 1.5 * np.sign(np.sin(2.0 * np.pi * 3.0 * time_s))


def reference_run(bullet3, targets, kp, kd, pd_latency_s):
    """Angles, velocities, position, quaternion and reported torques, (STEPS, 31)."""
    client = Client()
    client.resetSimulation()
    client.setPhysicsEngineParameter(
        fixedTimeStep=DT_S,
        numSolverIterations=ITERATIONS,
        deterministicOverlappingPairs=1,
        enableConeFriction=0,
    )
    client.setGravity(0, 0, -GRAVITY_M_S2)
    assert build(make_terrain(), client.id) == [0]
    robot = bullet3.minitaur.Minitaur(
        client,
        urdf_root=pybullet_data.getDataPath(),
        time_step=DT_S,
        accurate_motor_model_enabled=True,
        remove_default_joint_damping=True,
        motor_kp=kp,
        motor_kd=kd,
        pd_latency=pd_latency_s,
        control_latency=0.0,
    )
    rows = []
    for target in targets:
        robot.Step(target)
        rows.append(
            [
                *robot.GetTrueMotorAngles(),
                *robot.GetTrueMotorVelocities(),
                *robot.GetBasePosition(),
                *robot.GetTrueBaseOrientation(),
                *robot.GetTrueMotorTorques(),
            ]
        )
    client.disconnect()
    return np.array(rows)


def twin_run(make_twin, targets, kp, kd, pd_latency_s):
    robot = make_twin(
        physics_rate_hz=1.0 / DT_S, solver_iterations=ITERATIONS, pd_latency_s=pd_latency_s
    )
    rows = []
    for target in targets:
        robot.command(MotorCommand(target, kp=kp, kd=kd, torque_cap_nm=100.0))
        robot.advance(DT_S)
        state = robot.true_state()
        rows.append(
            [
                *state.motor_angle_rad,
                *state.motor_velocity_rad_s,
                *state.position_m,
                *state.quaternion_xyzw,
                *state.motor_torque_nm,
            ]
        )
    return np.array(rows)


@pytest.mark.parametrize(
    ("gait", "kp", "kd", "pd_latency_s"),
    [
        (stance, 0.5, 0.005, 0.002),
        (trot, 0.5, 0.005, 0.002),
        (trot, 1.0, 0.015, 0.003),  # between two steps
        (far, 1.0, 0.02, 0.0),
    ],
)
def test_moves_as_bullet3s_minitaur(bullet3, make_twin, gait, kp, kd, pd_latency_s):
    targets = [gait(step * DT_S) for step in range(STEPS)]
    reference = reference_run(bullet3, targets, kp, kd, pd_latency_s)
    twin = twin_run(make_twin, targets, kp, kd, pd_latency_s)
    assert np.ptp(reference[:, :8]) > 0.2  # it does move
    np.testing.assert_array_equal(twin, reference)

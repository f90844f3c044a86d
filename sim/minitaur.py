# SPDX-License-Identifier: MIT
"""The Minitaur's URDF in a PyBullet world: joints, five-bar loops, torques and sensors.

The URDF is PyBullet's own default (`pybullet_data/quadruped/minitaur.urdf`, 6 kg), set up as
bullet3's `pybullet_envs/minitaur/envs/minitaur.py` does; `tests/sim/test_reference.py` compares the
two. Methods that place the robot take angles in the order and signs of `hardware.body`. Methods
that run in every physics step use the URDF's signs and tuples of floats: for 8 motors Python is
faster than NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybullet
import pybullet_data

from walkhome.hardware.constants import N_LEGS, N_MOTORS
from walkhome.hardware.rotation import quaternion
from walkhome.sim.history import SIGN, RawSample

FloatArray = npt.NDArray[np.float64]

START_HEIGHT_M = 0.2  # bullet3 INIT_POSITION; motors at pi/2
START_MOTOR_RAD = math.pi / 2
START_KNEE_RAD = -2.1834
KNEE_POINT_RIGHT = (0.0, 0.005, 0.2)  # point that joins the two shanks of a leg (bullet3)
KNEE_POINT_LEFT = (0.0, 0.01, 0.2)
FOOT_CLEARANCE_M = 0.005  # height above the ground at which a robot is set down
# Link lengths of the URDF, for placements: motor axis to knee, knee to the joined ends.
_CRANK_M = 0.115
_SHANK_M = 0.2
# The URDF's motor joints, in the order of `hardware.body`.
MOTOR_JOINTS = (
    "motor_front_leftL_joint",
    "motor_front_leftR_joint",
    "motor_back_leftL_joint",
    "motor_back_leftR_joint",
    "motor_front_rightL_joint",
    "motor_front_rightR_joint",
    "motor_back_rightL_joint",
    "motor_back_rightR_joint",
)

_set_motors, _TORQUE = pybullet.setJointMotorControlArray, pybullet.TORQUE_CONTROL
_get_pose, _get_velocity = pybullet.getBasePositionAndOrientation, pybullet.getBaseVelocity
_get_joints = pybullet.getJointStates


class Minitaur:
    """The robot in one PyBullet world, in bullet3's starting posture.

    Args:
        client: PyBullet's client id.
        mass_scale: factor on the trunk's mass.

    Attributes:
        id: PyBullet's body id.
        motors: joint indices of the 8 motors, in the order of `hardware.body`.
        knees: joint indices of the 8 knees, in the same order.
    """

    def __init__(self, client: int, mass_scale: float = 1.0) -> None:
        self._client = client
        urdf = Path(pybullet_data.getDataPath()) / "quadruped" / "minitaur.urdf"
        self.id: int = pybullet.loadURDF(str(urdf), [0, 0, START_HEIGHT_M], physicsClientId=client)
        joints = [
            pybullet.getJointInfo(self.id, joint, physicsClientId=client)
            for joint in range(pybullet.getNumJoints(self.id, physicsClientId=client))
        ]
        index = {info[1].decode(): int(info[0]) for info in joints}
        self.motors = tuple(index[name] for name in MOTOR_JOINTS)
        self.knees = [
            index[name.replace("motor_", "knee_").replace("_joint", "_link")]
            for name in MOTOR_JOINTS
        ]
        self._configure_dynamics(len(joints), mass_scale)
        self.reset_legs(np.full(N_MOTORS, START_MOTOR_RAD))
        for left, right in self.foot_links:
            pybullet.createConstraint(
                self.id,
                right,
                self.id,
                left,
                pybullet.JOINT_POINT2POINT,
                [0, 0, 0],
                KNEE_POINT_RIGHT,
                KNEE_POINT_LEFT,
                physicsClientId=client,
            )

    @property
    def foot_links(self) -> tuple[tuple[int, int], ...]:
        """Link indices of the two shanks of each leg, whose joined ends are the foot."""
        return tuple((self.knees[2 * leg], self.knees[2 * leg + 1]) for leg in range(N_LEGS))

    def _configure_dynamics(self, n_joints: int, mass_scale: float) -> None:
        for link in range(-1, n_joints):
            pybullet.changeDynamics(
                self.id,
                link,
                linearDamping=0,
                angularDamping=0,
                jointDamping=0,
                physicsClientId=self._client,
            )
        if mass_scale != 1.0:
            mass = pybullet.getDynamicsInfo(self.id, -1, physicsClientId=self._client)[0]
            pybullet.changeDynamics(
                self.id, -1, mass=mass * mass_scale, physicsClientId=self._client
            )
        # Bullet puts a velocity motor on every joint; zero force disables it.
        moving = [*self.motors, *self.knees]
        pybullet.setJointMotorControlArray(
            self.id,
            moving,
            pybullet.VELOCITY_CONTROL,
            targetVelocities=[0.0] * len(moving),
            forces=[0.0] * len(moving),
            physicsClientId=self._client,
        )

    def one_shank_per_foot(self, ground: Sequence[int]) -> None:
        """Let only one shank of each foot collide with the ground bodies `ground`.

        For soft ground: stiffness applies per contact point, so two shanks sink half as deep as
        one, and the number of contacts determines the time of a physics step. The other shank can't
        sink in by itself: it spans from the foot to the knee, and both of them still collide.
        """
        for body in ground:
            for left, _ in self.foot_links:
                pybullet.setCollisionFilterPair(
                    self.id, body, left, -1, 0, physicsClientId=self._client
                )

    def place(self, position_m: FloatArray, quaternion_xyzw: FloatArray) -> None:
        """Set position (m, world) and attitude of the trunk; not during a run."""
        pybullet.resetBasePositionAndOrientation(
            self.id, position_m, quaternion_xyzw, physicsClientId=self._client
        )

    def set_down(self, x_m: float, y_m: float, yaw_rad: float, motor_rad: FloatArray) -> None:
        """Set the robot on its feet at a place, at rest, just above the ground there."""
        c = self._client
        upright = quaternion(yaw_rad=yaw_rad)
        above_m = 5.0  # above the rays that look for the ground
        self.place(np.array([x_m, y_m, above_m]), upright)
        self.reset_legs(motor_rad)
        pybullet.resetBaseVelocity(self.id, [0.0] * 3, [0.0] * 3, physicsClientId=c)
        pybullet.performCollisionDetection(physicsClientId=c)
        feet = self.foot_positions().reshape(-1, 3)
        rays = pybullet.rayTestBatch(
            [[x, y, 1.0] for x, y, _ in feet],
            [[x, y, -1.0] for x, y, _ in feet],
            physicsClientId=c,
        )
        ground_m = max(float(hit[3][2]) if hit[0] >= 0 else 0.0 for hit in rays)
        reach_m = above_m - float(feet[:, 2].min())
        self.place(np.array([x_m, y_m, ground_m + reach_m + FOOT_CLEARANCE_M]), upright)

    def reset_legs(self, motor_rad: FloatArray) -> None:
        """Set the motor angles (8,) rad and the knees that close the loops; not during a run."""
        for leg in range(N_LEGS):
            first, second = (float(motor_rad[2 * leg]), float(motor_rad[2 * leg + 1]))
            # Both shanks meet: with half angle e the knee bends by asin(l1 sin e / l2) + pi - e.
            extension = 0.5 * (first + second)
            bend = math.asin(min(1.0, _CRANK_M / _SHANK_M * math.sin(extension)))
            knee = -(bend + math.pi - extension)
            if abs(extension - START_MOTOR_RAD) < 1e-9:
                knee = START_KNEE_RAD
            for motor, angle in ((2 * leg, first), (2 * leg + 1, second)):
                for joint, value in ((self.motors[motor], angle), (self.knees[motor], knee)):
                    pybullet.resetJointState(
                        self.id, joint, SIGN[motor] * value, 0.0, physicsClientId=self._client
                    )

    def state_dict(self) -> dict[str, Any]:
        """Pose and velocity of the trunk, angle and rate of every joint, as JSON values."""
        c = self._client
        position, quaternion = pybullet.getBasePositionAndOrientation(self.id, physicsClientId=c)
        linear, angular = pybullet.getBaseVelocity(self.id, physicsClientId=c)
        joints = range(pybullet.getNumJoints(self.id, physicsClientId=c))
        states = pybullet.getJointStates(self.id, list(joints), physicsClientId=c)
        return {
            "position_m": list(position),
            "quaternion_xyzw": list(quaternion),
            "velocity_m_s": list(linear),
            "angular_velocity_rad_s": list(angular),
            "joints": [[state[0], state[1]] for state in states],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict` on a newly built robot.

        Raises:
            KeyError: a value is missing.
            ValueError: the state has another number of joints.
        """
        c = self._client
        joints = pybullet.getNumJoints(self.id, physicsClientId=c)
        if len(state["joints"]) != joints:
            raise ValueError(f"the state has {len(state['joints'])} joints, the robot {joints}")
        self.place(state["position_m"], state["quaternion_xyzw"])
        pybullet.resetBaseVelocity(
            self.id, state["velocity_m_s"], state["angular_velocity_rad_s"], physicsClientId=c
        )
        for joint, (angle, rate) in enumerate(state["joints"]):
            pybullet.resetJointState(self.id, joint, angle, rate, physicsClientId=c)

    def apply_torques(self, torque_nm: Sequence[float]) -> None:
        """Set the torques of the 8 motors (N m, URDF's signs) for the next physics step."""
        _set_motors(self.id, self.motors, _TORQUE, forces=torque_nm, physicsClientId=self._client)

    def sense(self, torque_nm: Sequence[float]) -> RawSample:
        """Read all sensors; `torque_nm` are the torques a board reports, in the URDF's signs."""
        # Positional arguments: with keywords, PyBullet takes twice as long.
        c, own = self._client, self.id
        joints = _get_joints(own, self.motors, c)
        position, quaternion = _get_pose(own, c)
        linear, angular = _get_velocity(own, c)
        return RawSample(joints, torque_nm, quaternion, angular, linear, position)

    def foot_positions(self) -> FloatArray:
        """Ends of the left and right shank of each leg, (4, 2, 3) m, world frame."""
        feet = np.zeros((N_LEGS, 2, 3))
        for leg, links in enumerate(self.foot_links):
            for side, (link, point) in enumerate(
                zip(links, (KNEE_POINT_LEFT, KNEE_POINT_RIGHT), strict=True)
            ):
                state = pybullet.getLinkState(
                    self.id, link, computeForwardKinematics=True, physicsClientId=self._client
                )
                feet[leg, side], _ = pybullet.multiplyTransforms(
                    state[0], state[1], point, [0, 0, 0, 1]
                )
        return feet

    def knee_positions(self) -> FloatArray:
        """Joints between cranks and shanks, (8, 3) m, world frame, in the order of the motors."""
        return np.array(
            [
                pybullet.getLinkState(
                    self.id, knee, computeForwardKinematics=True, physicsClientId=self._client
                )[4]
                for knee in self.knees
            ]
        )

# SPDX-License-Identifier: MIT
"""Measurements and disturbances that only a simulation offers: foot forces, pushes, mass.

For evaluation, reports and tests. Policies and safety must not use them: a board has none of this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pybullet

from walkhome.hardware.constants import N_LEGS
from walkhome.sim.twin import PyBulletRobot

FloatArray = npt.NDArray[np.float64]

_NORMAL_FORCE = 9  # index in a contact point of PyBullet


def foot_forces(robot: PyBulletRobot) -> FloatArray:
    """Normal force of the ground on the shanks of each leg, (4,) N."""
    forces = np.zeros(N_LEGS)
    leg_of = {link: leg for leg, links in enumerate(robot.foot_links) for link in links}
    ground = set(robot.ground_bodies)
    points = pybullet.getContactPoints(bodyA=robot.quadruped, physicsClientId=robot.client)
    for point in points:
        if point[2] in ground and point[3] in leg_of:
            forces[leg_of[point[3]]] += point[_NORMAL_FORCE]
    return forces


def push(robot: PyBulletRobot, force_n: FloatArray) -> None:
    """Apply a force of (3,) N (world frame) at the trunk's centre during the next physics step."""
    place, _ = pybullet.getBasePositionAndOrientation(robot.quadruped, physicsClientId=robot.client)
    pybullet.applyExternalForce(
        robot.quadruped,
        -1,
        [float(value) for value in force_n],
        place,
        pybullet.WORLD_FRAME,
        physicsClientId=robot.client,
    )


def mass_kg(robot: PyBulletRobot) -> float:
    """Total mass of the robot's links, kg."""
    links = range(-1, pybullet.getNumJoints(robot.quadruped, physicsClientId=robot.client))
    return sum(
        float(pybullet.getDynamicsInfo(robot.quadruped, link, physicsClientId=robot.client)[0])
        for link in links
    )

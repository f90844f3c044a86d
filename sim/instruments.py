# SPDX-License-Identifier: MIT
"""What an experimenter does with the twin and no robot can: see its feet touch, weigh it, push it.

For evaluation, reports and tests. Neither policy nor safety may use it: a board has none of this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pybullet

from walkhome.hardware.constants import N_LEGS
from walkhome.sim.twin import PyBulletRobot

FloatArray = npt.NDArray[np.float64]

_NORMAL_FORCE = 9  # its place in a contact point of PyBullet


def foot_forces(robot: PyBulletRobot) -> FloatArray:
    """(4,) N: how hard the ground pushes on each leg's shanks, along the contact's normal."""
    forces = np.zeros(N_LEGS)
    leg_of = {link: leg for leg, links in enumerate(robot.foot_links) for link in links}
    ground = set(robot.ground_bodies)
    points = pybullet.getContactPoints(bodyA=robot.quadruped, physicsClientId=robot.client)
    for point in points:
        if point[2] in ground and point[3] in leg_of:
            forces[leg_of[point[3]]] += point[_NORMAL_FORCE]
    return forces


def push(robot: PyBulletRobot, force_n: FloatArray) -> None:
    """Pull at the middle of the trunk with (3,) N, world frame, for the next physics step."""
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
    """Of all its links together."""
    links = range(-1, pybullet.getNumJoints(robot.quadruped, physicsClientId=robot.client))
    return sum(
        float(pybullet.getDynamicsInfo(robot.quadruped, link, physicsClientId=robot.client)[0])
        for link in links
    )

# SPDX-License-Identifier: MIT
"""Emulated calibration jig: holds the trunk in the air and the legs straight down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pybullet

from walkhome.hardware.serial.wiring import jig_motor_rad
from walkhome.sim.twin import PyBulletRobot

HEIGHT_M = 0.6


class Jig:
    """Holds a twin in the calibration posture until its process ends.

    Args:
        twin: placed by this constructor, before its first physics step.

    Raises:
        RobotError: the twin has already made a physics step.
    """

    def __init__(self, twin: PyBulletRobot) -> None:
        self._twin = twin
        self._motor_rad: npt.NDArray[np.float64] = jig_motor_rad()
        place = np.array([0.0, 0.0, HEIGHT_M])
        twin.place(place, np.array([0.0, 0.0, 0.0, 1.0]), self._motor_rad)
        pybullet.createConstraint(
            twin.quadruped,
            -1,
            -1,
            -1,
            pybullet.JOINT_FIXED,
            [0, 0, 0],
            [0, 0, 0],
            place.tolist(),
            physicsClientId=twin.client,
        )

    def hold(self) -> None:
        """Reset the legs to the calibration posture; call it in every physics step."""
        self._twin.model.reset_legs(self._motor_rad)

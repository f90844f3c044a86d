# SPDX-License-Identifier: MIT
"""A robot without physics, and its clock."""

import numpy as np
from bodies import MINITAUR

from walkhome.hardware.robot import Fault, Pose2D, RobotState

LEVEL = np.array([0.0, 0.0, 0.0, 1.0])


class FakeRobot:
    """A robot whose motors follow at once; the test sets its attitude.

    Attributes:
        attitude: quaternion x, y, z, w.
        log: commands and stops, in order.
    """

    def __init__(self):
        self.body = MINITAUR
        self.attitude = LEVEL
        self.angle = MINITAUR.stance_motor_rad()
        self.log = []
        self.time_s = 0.0

    def read(self):
        # Legs that carry weight are a little shorter than commanded; the stand-up checks this.
        sag_rad = np.full(8, 0.1)
        return RobotState(
            self.time_s, self.angle - sag_rad, np.zeros(8), np.zeros(8), np.full(8, 22.0),
            self.attitude, np.zeros(3), np.array([0, 0, 9.81]), 16.0, Fault.NONE, 0.0,
        )  # fmt: skip

    def command(self, command):
        assert np.isfinite(command.angle_rad).all()
        self.angle = command.angle_rad.copy()
        self.log.append(command)
        return command

    def stop(self, how):
        self.log.append(how)

    def close(self):
        pass

    def latest(self):
        return Pose2D(0.0, 0.0, 0.0, self.time_s)


class FakeClock:
    """Advances a `FakeRobot` by one period per tick."""

    period_s = elapsed_s = 0.02
    late_s = 0.0

    def __init__(self, robot):
        self._robot = robot

    def now_s(self):
        return self._robot.time_s

    def tick(self):
        self._robot.time_s += self.period_s

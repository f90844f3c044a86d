# SPDX-License-Identifier: MIT
"""Poses from a motion capture system, through the `motioncapture` package (extra `mocap`).

OptiTrack, Vicon, Qualisys, VRPN and others; the world's z has to point up, and the rigid body's x
toward the robot's head. Its frames are waited for in a thread; time is that of their arrival.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from walkhome.hardware.pose.guard import NOWHERE, PoseSourceRefused
from walkhome.hardware.robot import Pose2D
from walkhome.hardware.rotation import roll_pitch_yaw


class MotionCapturePose:
    """A `PoseSource`: one rigid body of a motion capture system.

    Args:
        system: its type, as `motioncapture.connect` calls it: optitrack, vicon, vrpn, ...
        settings: of the connection, as {"hostname": "192.168.1.5"}.
        rigid_body: name of the robot there.
        clock: monotonic seconds.

    Attributes:
        frames: seen so far, with the robot or without it.
    """

    def __init__(
        self,
        system: str,
        settings: Mapping[str, str],
        rigid_body: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import motioncapture
        except ImportError:
            raise PoseSourceRefused(
                'motion capture needs its package: pip install "walkhome[mocap]"'
            ) from None
        try:
            self._capture = motioncapture.connect(system, dict(settings))
        except (RuntimeError, ValueError) as error:
            raise PoseSourceRefused(
                f"motion capture {system} {dict(settings)}: {error}; check its name and address"
            ) from None
        self.frames = 0
        self._rigid_body, self._clock = rigid_body, clock
        self._newest = NOWHERE
        self._ended = False
        # Daemon: a system that has gone silent keeps its wait, and must not keep this program.
        self._thread = threading.Thread(target=self._listen, name="mocap", daemon=True)
        self._thread.start()

    def latest(self) -> Pose2D:
        """The newest pose; does not wait."""
        return self._newest

    def close(self) -> None:
        """Listen no more; safe to call twice."""
        self._ended = True
        self._thread.join(0.2)

    def _listen(self) -> None:
        while not self._ended:
            try:
                self._capture.waitForNextFrame()
                body = self._capture.rigidBodies.get(self._rigid_body)
            except RuntimeError:  # the connection broke: poses grow old, and the robot waits
                return
            self.frames += 1
            if body is not None:  # else it is hidden
                self._newest = pose_of(body, self._clock())


def pose_of(body: Any, time_s: float) -> Pose2D:
    """A rigid body's place on the floor; not `ok` if it is not finite."""
    x_m, y_m = float(body.position[0]), float(body.position[1])
    turn = body.rotation
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w], dtype=np.float64)
    length = float(np.linalg.norm(quaternion))
    if not (np.isfinite(length) and length > 0.5 and np.isfinite([x_m, y_m]).all()):
        return Pose2D(0.0, 0.0, 0.0, time_s, ok=False)
    return Pose2D(x_m, y_m, roll_pitch_yaw(quaternion / length)[2], time_s)

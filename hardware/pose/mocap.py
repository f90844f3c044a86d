# SPDX-License-Identifier: MIT
"""Floor poses from a motion capture system, through the `motioncapture` package (extra `mocap`).

Supports OptiTrack, Vicon, Qualisys, VRPN and others. The world's z axis must point up, and the
rigid body's x axis toward the robot's head. A thread waits for frames; their time is the arrival.
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
    """`PoseSource` that follows one rigid body of a motion capture system.

    Args:
        system: type of the system for `motioncapture.connect`: optitrack, vicon, vrpn, ...
        settings: settings of the connection, e.g. {"hostname": "192.168.1.5"}.
        rigid_body: name of the robot in the system.
        clock: monotonic seconds.

    Attributes:
        frames: number of received frames, with or without the robot.

    Raises:
        PoseSourceRefused: the package is not installed, or the connection fails.
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
        # Daemon: the wait for a silent system never ends and must not block exit.
        self._thread = threading.Thread(target=self._listen, name="mocap", daemon=True)
        self._thread.start()

    def latest(self) -> Pose2D:
        """The newest pose; does not wait."""
        return self._newest

    def close(self) -> None:
        """Stop the thread; safe to call twice."""
        self._ended = True
        self._thread.join(0.2)

    def _listen(self) -> None:
        while not self._ended:
            try:
                self._capture.waitForNextFrame()
                body = self._capture.rigidBodies.get(self._rigid_body)
            except RuntimeError:  # disconnected: the last pose becomes too old, and the robot waits
                return
            self.frames += 1
            if body is not None:  # None while it is hidden
                self._newest = pose_of(body, self._clock())


def pose_of(body: Any, time_s: float) -> Pose2D:
    """Convert a rigid body to a floor pose; not `ok` if it is not finite."""
    x_m, y_m = float(body.position[0]), float(body.position[1])
    turn = body.rotation
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w], dtype=np.float64)
    length = float(np.linalg.norm(quaternion))
    if not (np.isfinite(length) and length > 0.5 and np.isfinite([x_m, y_m]).all()):
        return Pose2D(0.0, 0.0, 0.0, time_s, ok=False)
    return Pose2D(x_m, y_m, roll_pitch_yaw(quaternion / length)[2], time_s)

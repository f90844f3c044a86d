# SPDX-License-Identifier: MIT
"""Poses from a camera that looks at AprilTags, through OpenCV (extra `camera`).

Two tags of the family 36h11: one lies on the floor and is the world (x along its right edge, y up
its left one), one lies on the robot's trunk, its x toward the head. The camera may stand anywhere
it sees both; it is calibrated (matrix and distortion). A robot whose tag leans by the trunk's pitch
and roll is where its tag is: a few centimetres off while it leans.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from walkhome.hardware.pose.guard import NOWHERE, PoseSourceRefused
from walkhome.hardware.robot import Pose2D

FloatArray = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TagSetup:
    """Camera and tags.

    Attributes:
        matrix: (3, 3) of the camera: focal lengths and centre, pixels.
        distortion: of its lens, as OpenCV has it.
        robot_tag: number of the tag on the robot.
        floor_tag: number of the tag on the floor.
        robot_tag_m: length of the black square's edge on the robot.
        floor_tag_m: the same on the floor.
    """

    matrix: tuple[tuple[float, float, float], ...]
    distortion: tuple[float, ...] = field(default=(0.0, 0.0, 0.0, 0.0, 0.0))
    robot_tag: int = 1
    floor_tag: int = 0
    robot_tag_m: float = 0.12
    floor_tag_m: float = 0.2


class Camera(Protocol):
    """What gives pictures, as `cv2.VideoCapture` does."""

    def read(self) -> tuple[bool, Any]:
        """Whether there is one, and the picture."""
        ...

    def release(self) -> None:
        """Let go of the device."""
        ...


class TagFinder:
    """Finds the robot's pose in a picture.

    Args:
        setup: camera and tags.

    Attributes:
        floor: (4, 4) floor tag in the camera's frame, when it was seen last; None before.
    """

    def __init__(self, setup: TagSetup) -> None:
        self._cv = _opencv()
        self._setup = setup
        self._matrix = np.array(setup.matrix, dtype=np.float64)
        self._distortion = np.array(setup.distortion, dtype=np.float64)
        aruco = self._cv.aruco
        family = aruco.getPredefinedDictionary(aruco.DICT_APRILTAG_36h11)
        self._detector = aruco.ArucoDetector(family, aruco.DetectorParameters())
        self.floor: FloatArray | None = None

    def find(self, image: Image, time_s: float) -> Pose2D:
        """The pose in one picture, grey or colour.

        Not `ok` if it shows no robot, or the floor's tag was never seen.
        """
        grey = image if image.ndim == 2 else self._cv.cvtColor(image, self._cv.COLOR_BGR2GRAY)
        corners, ids, _ = self._detector.detectMarkers(grey)
        seen = {} if ids is None else dict(zip(ids.flatten().tolist(), corners, strict=True))
        setup = self._setup
        if setup.floor_tag in seen:  # the camera may be pushed; the floor's tag is not
            self.floor = self._place(seen[setup.floor_tag], setup.floor_tag_m)
        robot = None
        if setup.robot_tag in seen:
            robot = self._place(seen[setup.robot_tag], setup.robot_tag_m)
        if self.floor is None or robot is None:
            return Pose2D(0.0, 0.0, 0.0, time_s, ok=False)
        on_floor = np.linalg.inv(self.floor) @ robot
        yaw = math.atan2(on_floor[1, 0], on_floor[0, 0])
        return Pose2D(float(on_floor[0, 3]), float(on_floor[1, 3]), yaw, time_s)

    def _place(self, corners: FloatArray, edge_m: float) -> FloatArray | None:
        """(4, 4) tag in the camera's frame."""
        h = 0.5 * edge_m
        square = np.array([[-h, h, 0.0], [h, h, 0.0], [h, -h, 0.0], [-h, -h, 0.0]])
        good, turn, shift = self._cv.solvePnP(
            square,
            np.asarray(corners, dtype=np.float64).reshape(4, 2),
            self._matrix,
            self._distortion,
            flags=self._cv.SOLVEPNP_IPPE_SQUARE,
        )
        if not good:
            return None
        out = np.eye(4)
        out[:3, :3] = self._cv.Rodrigues(turn)[0]
        out[:3, 3] = np.asarray(shift).reshape(3)
        return out


class CameraPose:
    """A `PoseSource`: a camera, looked at in a thread.

    Args:
        setup: camera and tags.
        camera: gives pictures; the system's first camera when None.
        clock: monotonic seconds.

    Attributes:
        pictures: looked at so far.
    """

    def __init__(
        self,
        setup: TagSetup,
        camera: Camera | int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._finder = TagFinder(setup)
        self.pictures = 0
        self._camera: Camera = _camera(camera) if isinstance(camera, int) else camera
        self._clock = clock
        self._newest = NOWHERE
        self._ended = False
        self._thread = threading.Thread(target=self._look, name="camera", daemon=True)
        self._thread.start()

    def latest(self) -> Pose2D:
        """The newest pose; does not wait."""
        return self._newest

    def close(self) -> None:
        """Let go of the camera; safe to call twice."""
        self._ended = True
        self._thread.join(1.0)

    def _look(self) -> None:
        try:
            while not self._ended:
                good, image = self._camera.read()
                time_s = self._clock()
                if not good:  # unplugged: poses grow old, and the robot waits
                    return
                pose = self._finder.find(image, time_s)
                self.pictures += 1
                # A robot that is hidden for a moment keeps its last pose until that is too old.
                if pose.ok or not self._newest.ok:
                    self._newest = pose
        finally:
            self._camera.release()


def _camera(number: int) -> Camera:
    opened: Any = _opencv().VideoCapture(number)
    if not opened.isOpened():
        raise PoseSourceRefused(f"camera {number}: can't be opened; check its number")
    device: Camera = opened
    return device


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise PoseSourceRefused('a camera needs OpenCV: pip install "walkhome[camera]"') from None
    return cv2

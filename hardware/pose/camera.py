# SPDX-License-Identifier: MIT
"""Floor poses from a camera that sees AprilTags, through OpenCV (extra `camera`).

Uses two tags of the family 36h11. The tag on the floor defines the world frame (x along its lower
edge to the right, y along its left edge upward); the tag on the robot's trunk has x toward the
head. The camera may stand anywhere where it sees both, and must be calibrated (matrix and
distortion). The pose is that of the tag: while the trunk leans it is off by a few centimetres.
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
    """Calibration of the camera, and the tags.

    Attributes:
        matrix: (3, 3) camera matrix: focal lengths and centre, pixels.
        distortion: distortion coefficients of the lens, in OpenCV's order.
        robot_tag: number of the tag on the robot.
        floor_tag: number of the tag on the floor.
        robot_tag_m: edge length of the black square on the robot.
        floor_tag_m: edge length of the black square on the floor.
    """

    matrix: tuple[tuple[float, float, float], ...]
    distortion: tuple[float, ...] = field(default=(0.0, 0.0, 0.0, 0.0, 0.0))
    robot_tag: int = 1
    floor_tag: int = 0
    robot_tag_m: float = 0.12
    floor_tag_m: float = 0.2


class ImageSource(Protocol):
    """Source of pictures, such as `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, Any]:
        """Wait for a picture; return whether there is one, and the picture."""
        ...

    def release(self) -> None:
        """Release the camera device."""
        ...


class TagFinder:
    """Finds the robot's pose in pictures.

    Args:
        setup: camera and tags.

    Attributes:
        floor: (4, 4) last pose of the floor tag in the camera frame; None before the first.

    Raises:
        PoseSourceRefused: OpenCV is not installed.
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
        """Find the pose in a picture.

        Args:
            image: (h, w) grey or (h, w, 3) BGR.
            time_s: time stamp of the pose.

        Returns:
            Pose in the frame of the floor tag; not `ok` if the picture does not show the robot's
            tag, or no picture has shown the floor tag yet.
        """
        grey = image if image.ndim == 2 else self._cv.cvtColor(image, self._cv.COLOR_BGR2GRAY)
        corners, ids, _ = self._detector.detectMarkers(grey)
        seen = {} if ids is None else dict(zip(ids.flatten().tolist(), corners, strict=True))
        setup = self._setup
        if setup.floor_tag in seen:  # follow a camera that is moved
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
        """Pose of a tag in the camera frame, (4, 4); None without a solution."""
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
    """`PoseSource` that reads a camera in a thread of its own.

    Args:
        setup: camera and tags.
        camera: source of pictures, or the number of a camera of the system.
        clock: monotonic seconds.

    Attributes:
        pictures: number of pictures processed so far.

    Raises:
        PoseSourceRefused: OpenCV is not installed, or the camera can't be opened.
    """

    def __init__(
        self,
        setup: TagSetup,
        camera: ImageSource | int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._finder = TagFinder(setup)
        self.pictures = 0
        self._camera: ImageSource = _camera(camera) if isinstance(camera, int) else camera
        self._clock = clock
        self._newest = NOWHERE
        self._ended = False
        self._thread = threading.Thread(target=self._look, name="camera", daemon=True)
        self._thread.start()

    def latest(self) -> Pose2D:
        """The newest pose; does not wait."""
        return self._newest

    def close(self) -> None:
        """Stop the thread and release the camera; safe to call twice."""
        self._ended = True
        self._thread.join(1.0)

    def _look(self) -> None:
        try:
            while not self._ended:
                good, image = self._camera.read()
                time_s = self._clock()
                if not good:  # unplugged: the last pose becomes too old, and the robot waits
                    return
                pose = self._finder.find(image, time_s)
                self.pictures += 1
                # While the robot is hidden, keep its last pose until that is too old.
                if pose.ok or not self._newest.ok:
                    self._newest = pose
        finally:
            self._camera.release()


def _camera(number: int) -> ImageSource:
    opened: Any = _opencv().VideoCapture(number)
    if not opened.isOpened():
        raise PoseSourceRefused(f"camera {number}: can't be opened; check its number")
    device: ImageSource = opened
    return device


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise PoseSourceRefused('a camera needs OpenCV: pip install "walkhome[camera]"') from None
    return cv2

# SPDX-License-Identifier: MIT
"""Pose sources: motion capture (the package's mock system) and a camera (rendered tags)."""

import math
import time

import numpy as np
import pytest

from walkhome.hardware.pose.camera import CameraPose, TagFinder, TagSetup
from walkhome.hardware.pose.guard import PoseGuard, PoseSourceRefused
from walkhome.hardware.pose.mocap import MotionCapturePose

# -- motion capture --------------------------------------------------------------------------------


def wait_for(done, timeout_s=5.0):
    end_s = time.monotonic() + timeout_s
    while not done() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert done()


def test_a_rigid_body_is_a_pose():
    pytest.importorskip("motioncapture")
    half = 0.5 * 0.6
    place = f"minitaur(1.5,-2,0.2,{math.cos(half)},0,0,{math.sin(half)})"
    source = MotionCapturePose("mock", {"frequency": "100", "rigid_bodies": place}, "minitaur")
    guard = PoseGuard(source)
    wait_for(lambda: guard.latest().ok)
    pose = guard.latest()
    assert (pose.x_m, pose.y_m) == pytest.approx((1.5, -2.0))
    assert pose.yaw_rad == pytest.approx(0.6, abs=1e-5)
    source.close()
    source.close()
    time.sleep(0.25)
    assert not guard.latest().ok  # nothing new comes: it is old


def test_a_body_that_is_hidden_has_no_pose():
    pytest.importorskip("motioncapture")
    source = MotionCapturePose("mock", {"frequency": "100"}, "minitaur")
    wait_for(lambda: source.frames > 3)
    assert not source.latest().ok
    source.close()


def test_an_unknown_system_is_refused():
    pytest.importorskip("motioncapture")
    with pytest.raises(PoseSourceRefused, match="check its name"):
        MotionCapturePose("stars", {}, "minitaur")


# -- camera ----------------------------------------------------------------------------------------

WIDTH, HEIGHT, FOCAL = 1280, 960, 1000.0
SETUP = TagSetup(
    matrix=((FOCAL, 0.0, WIDTH / 2), (0.0, FOCAL, HEIGHT / 2), (0.0, 0.0, 1.0)),
    robot_tag_m=0.15,
)


def looking_down(height_m, tilt_rad=0.0, aside_m=0.0):
    """Transform from world to camera, (4, 4): above the floor, x right, tilted about x."""
    turn = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, -math.cos(tilt_rad), -math.sin(tilt_rad)],
            [0.0, math.sin(tilt_rad), -math.cos(tilt_rad)],
        ]
    )
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = -turn @ np.array([aside_m, -math.tan(tilt_rad) * height_m, height_m])
    return out


def rendered(camera, tags):
    """Render a picture of tags, each given as (number, edge, x, y, z, yaw)."""
    import cv2

    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    picture = np.full((HEIGHT, WIDTH), 200, np.uint8)
    for number, edge_m, x, y, z, yaw in tags:
        size, border = 400, 50
        tag = np.full((size + 2 * border,) * 2, 255, np.uint8)
        tag[border:-border, border:-border] = cv2.aruco.generateImageMarker(family, number, size)
        reach = 0.5 * edge_m * (size + 2 * border) / size
        ends = np.array([[-reach, reach], [reach, reach], [reach, -reach], [-reach, -reach]])
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        world = np.c_[ends @ turn.T + [x, y], np.full(4, z), np.ones(4)]
        seen = (np.array(SETUP.matrix) @ (camera @ world.T)[:3]).T
        pixels = (seen[:, :2] / seen[:, 2:]).astype(np.float32)
        whole = size + 2 * border
        source = np.float32([[0, 0], [whole, 0], [whole, whole], [0, whole]])
        warp = cv2.getPerspectiveTransform(source, pixels)
        mask = cv2.warpPerspective(np.full_like(tag, 255), warp, (WIDTH, HEIGHT))
        drawn = cv2.warpPerspective(tag, warp, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        picture = np.where(mask > 127, drawn, picture)
    return picture


FLOOR = (0, 0.2, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("x", "y", "yaw", "tilt"),
    [(0.5, 0.3, 0.0, 0.0), (-0.6, 0.4, 1.2, 0.0), (0.7, -0.5, -2.8, 0.3), (0.3, 0.6, 3.0, 0.4)],
)
def test_the_robot_is_where_its_tag_was_drawn(x, y, yaw, tilt):
    pytest.importorskip("cv2")
    camera = looking_down(2.5, tilt, 0.1)
    picture = rendered(camera, [FLOOR, (1, 0.15, x, y, 0.25, yaw)])
    pose = TagFinder(SETUP).find(picture, 7.0)
    assert pose.ok
    assert pose.time_s == 7.0
    assert math.hypot(pose.x_m - x, pose.y_m - y) < 0.03
    assert abs(math.remainder(pose.yaw_rad - yaw, 2 * math.pi)) < math.radians(2.0)


def test_what_is_not_seen_is_not_known():
    pytest.importorskip("cv2")
    camera, finder = looking_down(2.5), TagFinder(SETUP)
    robot = (1, 0.15, 0.3, 0.2, 0.25, 0.0)
    assert not finder.find(np.full((HEIGHT, WIDTH), 200, np.uint8), 1.0).ok
    assert not finder.find(rendered(camera, [robot]), 1.0).ok  # where is the floor?
    assert finder.find(rendered(camera, [FLOOR, robot]), 1.0).ok
    assert finder.find(rendered(camera, [robot]), 1.0).ok  # it has not moved
    assert not finder.find(rendered(camera, [FLOOR]), 1.0).ok


def test_colour_pictures_do_as_well():
    cv2 = pytest.importorskip("cv2")
    grey = rendered(looking_down(2.5), [FLOOR, (1, 0.15, 0.3, 0.2, 0.25, 0.0)])
    assert TagFinder(SETUP).find(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 1.0).ok


class Film:
    """A camera that returns some pictures and then is unplugged."""

    def __init__(self, pictures):
        self.pictures, self.released = list(pictures), False

    def read(self):
        time.sleep(0.02)
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)

    def release(self):
        self.released = True


def test_a_camera_that_is_unplugged_leaves_an_old_pose():
    pytest.importorskip("cv2")
    picture = rendered(looking_down(2.5), [FLOOR, (1, 0.15, 0.3, 0.2, 0.25, 0.0)])
    film = Film([picture] * 3)
    source = CameraPose(SETUP, film)
    guard = PoseGuard(source)
    wait_for(lambda: source.pictures == 3)
    assert source.latest().ok
    time.sleep(0.25)
    assert not guard.latest().ok
    source.close()
    assert film.released


def test_no_camera_is_refused():
    pytest.importorskip("cv2")
    with pytest.raises(PoseSourceRefused, match="can't be opened"):
        CameraPose(SETUP, 63)

# SPDX-License-Identifier: MIT
"""The fence around the robot."""

import math

import pytest

from walkhome.hardware.robot import Pose2D
from walkhome.robot.mdp.workspace import Workspace

SPACE = Workspace(2.0, 1.0, 0.3, margin_m=0.0)


def pose(x, y, yaw=0.0):
    return Pose2D(x, y, yaw, 0.0)


def test_inside_and_outside():
    assert SPACE.contains(pose(2.0, -1.0))
    assert not SPACE.contains(pose(2.01, 0.0))
    assert not SPACE.contains(pose(0.0, -1.01))


def test_a_roll_out_that_starts_outside_may_walk_home_but_not_far_away():
    assert SPACE.left(pose(2.01, 0.0), start=pose(1.9, 0.0))
    assert not SPACE.left(pose(1.99, 0.0), start=pose(1.9, 0.0))
    outside = pose(2.2, 0.0)
    assert not SPACE.left(pose(2.45, 0.0), start=outside)
    assert not SPACE.left(pose(2.1, 0.0), start=outside)
    assert not SPACE.left(pose(1.0, 0.0), start=outside)
    assert SPACE.left(pose(2.51, 0.0), start=outside)


def test_a_roll_out_ends_in_the_margin_if_it_walks_out():
    space = Workspace(2.0, 2.0, 0.3, margin_m=0.4)
    assert not space.turns_back(pose(1.55, 0.0), start=pose(0.0, 0.0))
    assert space.turns_back(pose(1.65, 0.0), start=pose(0.0, 0.0))
    assert space.turns_back(pose(0.0, -1.65), start=pose(0.0, 0.0))
    assert not space.turns_back(pose(1.75, 0.0), start=pose(1.7, 0.0))  # not yet further out
    assert space.turns_back(pose(1.85, 0.0), start=pose(1.7, 0.0))
    assert not space.turns_back(pose(1.65, 0.0), start=pose(1.7, 0.0))  # on its way home
    assert not Workspace(2.0, 2.0, 0.3, margin_m=0.0).turns_back(
        pose(1.99, 0.0), start=pose(0.0, 0.0)
    )


def test_the_margin_leaves_room_in_a_small_workspace():
    space = Workspace(0.5, 0.5, 0.1, margin_m=0.4)
    assert not space.turns_back(pose(0.35, 0.0), start=pose(0.0, 0.0))
    assert space.turns_back(pose(0.45, 0.0), start=pose(0.0, 0.0))


@pytest.mark.parametrize(
    ("place", "bearing"),
    [
        (pose(-1, 0, 0), 0.0),
        (pose(0, -1, 0), math.pi / 2),
        (pose(0, -1, math.pi / 2), 0.0),
        (pose(1, 0, math.pi / 2), math.pi / 2),
    ],
)
def test_bearing_to_the_centre(place, bearing):
    assert SPACE.bearing_to_centre_rad(place) == pytest.approx(bearing)

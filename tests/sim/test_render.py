# SPDX-License-Identifier: MIT
"""Pictures show the robot on its ground, follow it, and do not change the twin."""

import numpy as np
import pytest

from walkhome.sim.render import COLOURS, TwinCamera

SIZE = (96, 72)


@pytest.fixture
def make_camera():
    made = []

    def make(twin, size=SIZE):
        made.append(TwinCamera(twin, *size))
        return made[-1]

    yield make
    for camera in made:
        camera.close()


def dark_pixels(picture):
    """Rows and columns (n, 2) of the trunk's dark grey, a colour that no ground has."""
    grey = np.ptp(picture.astype(int), axis=2) < 12
    return np.argwhere(grey & (picture.max(axis=2) < 90))


@pytest.mark.parametrize("name", ["flat", "mattress", "doormat"])
def test_a_picture_shows_the_robot_on_a_checkered_ground(make_twin, make_camera, shipped, name):
    terrain = shipped(name)
    picture = make_camera(make_twin(terrain)).shot()
    assert picture.shape == (72, 96, 3)
    assert picture.dtype == np.uint8
    trunk = dark_pixels(picture)
    assert len(trunk) > 0.02 * picture[..., 0].size
    # In the middle of the picture, a bit above its centre.
    np.testing.assert_allclose(trunk.mean(axis=0) / [72, 96], [0.45, 0.5], atol=0.15)
    lower = picture[48:].reshape(-1, 3).astype(float)
    for colour in COLOURS[terrain.kind]:
        # Shading keeps the hue.
        hue = np.array(colour[:3]) / np.linalg.norm(colour[:3])
        alike = lower @ hue / np.maximum(np.linalg.norm(lower, axis=1), 1.0) > 0.998
        assert alike.mean() > 0.1


def test_the_camera_follows_the_robot_and_the_ground_moves(make_twin, make_camera):
    pictures = []
    for x in (0.0, 0.25):  # one square further on: the other colour
        twin = make_twin()
        twin.place([x, 0.0, 0.2], [0, 0, 0, 1], None)
        pictures.append(make_camera(twin).shot())
    np.testing.assert_allclose(*(dark_pixels(p).mean(axis=0) for p in pictures), atol=1.0)
    corner = [p[60:, 60:].astype(int) for p in pictures]
    assert np.abs(corner[0] - corner[1]).mean() > 10


def test_the_puppet_takes_the_twins_posture(make_twin, make_camera, hold):
    twin = make_twin()
    camera = make_camera(twin)
    first = camera.shot()
    np.testing.assert_array_equal(camera.shot(), first)
    hold(twin, 0.4, motor_rad=np.full(8, 2.6))
    assert np.abs(camera.shot().astype(int) - first).mean() > 1.0


def test_a_filmed_twin_moves_as_one_that_nobody_looks_at(make_twin, make_camera, hold):
    places = []
    for filmed in (False, True):
        twin = make_twin()
        camera = make_camera(twin, (16, 12)) if filmed else None
        for _ in range(5):
            hold(twin, 0.06, motor_rad=np.full(8, 2.4))
            if camera is not None:
                camera.shot()
        places.append(twin.true_state())
    np.testing.assert_array_equal(places[0].position_m, places[1].position_m)
    np.testing.assert_array_equal(places[0].motor_angle_rad, places[1].motor_angle_rad)


def test_closing_twice_is_fine_and_leaves_the_twin(make_twin, make_camera):
    twin = make_twin()
    camera = make_camera(twin)
    camera.close()
    camera.close()
    twin.advance(0.02)

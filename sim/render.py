# SPDX-License-Identifier: MIT
"""Pictures of the twin without a window or graphics card, by PyBullet's software renderer.

A `Stage` is a second PyBullet world with a painted ground and a puppet of the robot. The puppet
takes the twin's posture for every picture (`TwinCamera`), or a posture from a journal. The twin's
world is only read, so a filmed run moves exactly like one that is not filmed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pybullet

from walkhome.hardware.rotation import rotate
from walkhome.sim.minitaur import Minitaur
from walkhome.sim.terrain import Terrain, slot_lines, surface_height
from walkhome.sim.twin import PyBulletRobot

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Quad = tuple[float, ...]  # x0, x1, y0, y1 and the heights of the four corners, m

# Colours of light and dark squares, per kind of ground.
COLOURS = {
    "plane": ((0.78, 0.82, 0.86, 1.0), (0.55, 0.62, 0.70, 1.0)),
    "soft": ((0.95, 0.90, 0.80, 1.0), (0.86, 0.74, 0.58, 1.0)),
    "slots": ((0.72, 0.56, 0.40, 1.0), (0.62, 0.46, 0.32, 1.0)),
}
_SLOT_COLOUR = (0.10, 0.07, 0.05, 1.0)
_SQUARE_M = 0.25
_HALF_GROUND_M = 5.0
_REPAINT_M = 2.0  # from the middle of the painted area; its edge is visible from about 3 m
_MESH_QUADS = 2000  # Bullet accepts a limited number of vertices per mesh

_EYE_M = np.array([0.55, 0.75, 0.38])  # from the robot: front-left and above
_TARGET_Z_M = 0.14
_FIELD_OF_VIEW_DEG = 50.0
_NEAR_M, _FAR_M = 0.05, 20.0
_LIGHT = (1.0, 1.5, 3.0)
_INK = (0.08, 0.09, 0.12)
_LINE_M = 0.05
# Corners of the URDF's trunk, from its centre.
_TRUNK_CORNERS_M = [(x, y, z) for x in (-0.25, 0.25) for y in (-0.1, 0.1) for z in (-0.04, 0.04)]


class Stage:
    """A painted ground with a puppet of the robot on it, and a camera that follows the puppet.

    Args:
        terrain: terrain of the ground to paint.
        width: width of a picture, pixels.
        height: height of a picture, pixels.
        window: show the scene in PyBullet's window; needs a display.

    Raises:
        pybullet.error: there is no display for the window.
    """

    def __init__(
        self,
        terrain: Terrain,
        width: int = 640,
        height: int = 480,
        window: bool = False,
    ) -> None:
        self._terrain = terrain
        self._size = (width, height)
        self._client: int = pybullet.connect(pybullet.GUI if window else pybullet.DIRECT)
        if window:
            tidy_window(self._client)
        self._puppet = Minitaur(self._client)
        self._middle_m = (0.0, 0.0)
        self._ground = paint_ground(terrain, self._client)
        self._place_m = np.zeros(3)
        self._texts: dict[int, int] = {}
        self._projection = pybullet.computeProjectionMatrixFOV(
            _FIELD_OF_VIEW_DEG, width / height, _NEAR_M, _FAR_M
        )

    def copy(self, robot: PyBulletRobot) -> None:
        """Copy posture and position of a twin to the puppet."""
        stage = self._client
        place = pybullet.getBasePositionAndOrientation(
            robot.quadruped, physicsClientId=robot.client
        )
        pybullet.resetBasePositionAndOrientation(self._puppet.id, *place, physicsClientId=stage)
        for joint in (*robot.model.motors, *robot.model.knees):
            angle = pybullet.getJointState(robot.quadruped, joint, physicsClientId=robot.client)[0]
            pybullet.resetJointState(self._puppet.id, joint, angle, physicsClientId=stage)
        self._place_m = robot.true_state().position_m

    def put(
        self, x_m: float, y_m: float, quaternion_xyzw: FloatArray, motor_rad: FloatArray
    ) -> None:
        """Put the puppet on the ground with its lowest point touching, as its height is unknown.

        Args:
            x_m: x of the trunk, world frame.
            y_m: y of the trunk, world frame.
            quaternion_xyzw: (4,) attitude of the trunk, body to world.
            motor_rad: (8,) motor angles.
        """
        self._puppet.reset_legs(motor_rad)
        self._puppet.place(np.array([x_m, y_m, 0.0]), quaternion_xyzw)
        # Positions of links are updated only by these queries of forward kinematics.
        points = np.concatenate(
            [
                self._puppet.foot_positions().reshape(-1, 3),
                self._puppet.knee_positions(),
                [rotate(quaternion_xyzw, corner) for corner in _TRUNK_CORNERS_M],
            ]
        )
        ground_m = surface_height(self._terrain, x_m, y_m)
        self._place_m = np.array([x_m, y_m, ground_m - float(points[:, 2].min())])
        self._puppet.place(self._place_m, quaternion_xyzw)

    def shot(self) -> Picture:
        """Render the puppet: (height, width, 3) uint8, RGB."""
        self._keep_ground_below()
        target = np.array([*self._place_m[:2], _TARGET_Z_M])
        view = pybullet.computeViewMatrix(target + _EYE_M, target, [0.0, 0.0, 1.0])
        width, height = self._size
        _, _, pixels, _, _ = pybullet.getCameraImage(
            width,
            height,
            view,
            self._projection,
            lightDirection=_LIGHT,
            shadow=1,
            renderer=pybullet.ER_TINY_RENDERER,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )
        rgba = np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)
        return np.ascontiguousarray(rgba[:, :, :3])

    def _keep_ground_below(self) -> None:
        """Repaint the ground around a puppet that leaves it; a doormat keeps its edges."""
        x, y = (float(value) for value in self._place_m[:2])
        away_m = max(abs(x - self._middle_m[0]), abs(y - self._middle_m[1]))
        if self._terrain.kind == "slots" or away_m <= _REPAINT_M:
            return
        for body in self._ground:
            pybullet.removeBody(body, physicsClientId=self._client)
        # By pairs of squares, so that none changes its colour.
        pair_m = 2.0 * _SQUARE_M
        self._middle_m = (round(x / pair_m) * pair_m, round(y / pair_m) * pair_m)
        self._ground = paint_ground(self._terrain, self._client, self._middle_m)

    def follow(self) -> None:
        """Point the window's camera at the puppet."""
        self._keep_ground_below()
        follow_in_window(self._client, self._place_m)

    def write(self, lines: Sequence[str]) -> None:
        """Show lines of text above the puppet in the window; they replace the previous ones."""
        x, y, z = (float(value) for value in self._place_m)
        for number, line in enumerate(lines):
            place = [x, y, z + 0.1 + _LINE_M * (len(lines) - number)]
            old = {"replaceItemUniqueId": self._texts[number]} if number in self._texts else {}
            self._texts[number] = pybullet.addUserDebugText(
                line, place, _INK, 1.2, physicsClientId=self._client, **old
            )

    def close(self) -> None:
        """End the stage's PyBullet world; safe to call twice."""
        if self._client >= 0:
            with contextlib.suppress(pybullet.error):  # its window was closed
                pybullet.disconnect(physicsClientId=self._client)
            self._client = -1


class TwinCamera:
    """Takes pictures that follow a twin from its front-left, in a fixed direction.

    Args:
        robot: twin to film; it is only read.
        width: width of a picture, pixels.
        height: height of a picture, pixels.
    """

    def __init__(self, robot: PyBulletRobot, width: int = 640, height: int = 480) -> None:
        self._robot = robot
        self._stage = Stage(robot.terrain, width, height)

    def shot(self) -> Picture:
        """Render the twin: (height, width, 3) uint8, RGB."""
        self._stage.copy(self._robot)
        return self._stage.shot()

    def close(self) -> None:
        """End the stage's PyBullet world, not the twin; safe to call twice."""
        self._stage.close()


def tidy_window(client: int) -> None:
    """Hide the panels and previews of PyBullet's window, which also cost time."""
    for part in (
        pybullet.COV_ENABLE_GUI,
        pybullet.COV_ENABLE_KEYBOARD_SHORTCUTS,
        pybullet.COV_ENABLE_RGB_BUFFER_PREVIEW,
        pybullet.COV_ENABLE_DEPTH_BUFFER_PREVIEW,
        pybullet.COV_ENABLE_SEGMENTATION_MARK_PREVIEW,
    ):
        pybullet.configureDebugVisualizer(part, 0, physicsClientId=client)


def follow_in_window(client: int, place_m: FloatArray) -> None:
    """Point the window's camera at a position (3,) m, from the viewpoint of the pictures."""
    x, y, z = (float(value) for value in _EYE_M)
    pybullet.resetDebugVisualizerCamera(
        cameraDistance=float(np.linalg.norm(_EYE_M)),
        # PyBullet's yaw is the direction of the view's right side: 0 looks along y.
        cameraYaw=math.degrees(math.atan2(y, x)) + 90.0,
        cameraPitch=-math.degrees(math.asin(z / float(np.linalg.norm(_EYE_M)))),
        cameraTargetPosition=[float(place_m[0]), float(place_m[1]), _TARGET_Z_M],
        physicsClientId=client,
    )


def paint_ground(
    terrain: Terrain, client: int, middle_m: tuple[float, float] = (0.0, 0.0)
) -> list[int]:
    """Add a checkered picture of the ground to a PyBullet world; it has no collisions.

    Args:
        terrain: what to paint.
        client: PyBullet's client id of the world.
        middle_m: x and y of the centre of the painted area; a doormat is always painted whole.

    Returns:
        PyBullet's body ids of the picture.
    """
    squares = list(_tiles(terrain) if terrain.kind == "slots" else _squares(terrain, middle_m))
    painted = []
    for colour, chosen in zip(COLOURS[terrain.kind], (squares[0::2], squares[1::2]), strict=True):
        painted += [
            _paint(chosen[start : start + _MESH_QUADS], colour, client)
            for start in range(0, len(chosen), _MESH_QUADS)
        ]
    if terrain.kind == "slots":
        half_m, depth_m = 4.0 * _HALF_GROUND_M, -terrain.slot_depth_m
        bottom = (-half_m, half_m, -half_m, half_m, *[depth_m] * 4)
        painted.append(_paint([bottom], _SLOT_COLOUR, client))
    return painted


def _squares(terrain: Terrain, middle_m: tuple[float, float]) -> Iterator[Quad]:
    """Squares of the ground, row by row; every second one forms a checkerboard."""
    # An odd number per row gives neighbours of adjacent rows different colours.
    n = 2 * round(_HALF_GROUND_M / _SQUARE_M) + 1
    x_lines, y_lines = ((np.arange(n + 1) - n / 2.0) * _SQUARE_M + at_m for at_m in middle_m)
    heights = [[surface_height(terrain, float(x), float(y)) for y in y_lines] for x in x_lines]
    for i, (x0, x1) in enumerate(pairwise(x_lines.tolist())):
        for j, (y0, y1) in enumerate(pairwise(y_lines.tolist())):
            corners = (heights[i][j], heights[i + 1][j], heights[i + 1][j + 1], heights[i][j + 1])
            yield (x0, x1, y0, y1, *corners)


def _tiles(terrain: Terrain) -> Iterator[Quad]:
    """Upper faces of a doormat's tiles."""
    x_lines, y_lines = slot_lines(terrain)
    half_m = terrain.slot_width_m / 2.0
    # As in `_squares`, an odd number per row.
    y_lines = y_lines[: len(y_lines) - len(y_lines) % 2]
    for x0, x1 in pairwise(x_lines.tolist()):
        for y0, y1 in pairwise(y_lines.tolist()):
            yield (x0 + half_m, x1 - half_m, y0 + half_m, y1 - half_m, 0.0, 0.0, 0.0, 0.0)


def _paint(quads: list[Quad], colour: tuple[float, ...], client: int) -> int:
    """Add one visual body of quads, visible from above; return PyBullet's body id."""
    vertices: list[list[float]] = []
    indices: list[int] = []
    for x0, x1, y0, y1, *z in quads:
        first = len(vertices)
        vertices += [[x0, y0, z[0]], [x1, y0, z[1]], [x1, y1, z[2]], [x0, y1, z[3]]]
        indices += [first, first + 1, first + 2, first, first + 2, first + 3]
    shape = pybullet.createVisualShape(
        pybullet.GEOM_MESH,
        vertices=vertices,
        indices=indices,
        normals=[[0.0, 0.0, 1.0]] * len(vertices),
        uvs=[[0.0, 0.0]] * len(vertices),
        rgbaColor=colour,
        physicsClientId=client,
    )
    return int(pybullet.createMultiBody(0, -1, shape, physicsClientId=client))

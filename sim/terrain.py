# SPDX-License-Identifier: MIT
"""What the robot stands on: a plane, a soft mattress, or a doormat with slots.

A terrain is built once into a PyBullet world. Its parameters come from a YAML file of `configs/`;
this module only knows the numbers. Everything random is drawn from the terrain's own seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pybullet

FloatArray = npt.NDArray[np.float64]

_SOFT_HALF_M = 20.0
_TILES = 4  # tiles per side of one body
_TILE_ROOT_M = 0.05
_MAX_TILES = 400


class TerrainError(ValueError):
    """A terrain that PyBullet can't build; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """Numbers of a terrain.

    Attributes:
        name: for messages and records.
        kind: `plane`, `soft` or `slots`.
        friction: lateral friction of the ground (the feet have 1; PyBullet multiplies).
        restitution: bounciness.
        stiffness_n_m: spring of the contact, soft kinds only.
        damping_n_s_m: damper of the contact, soft kinds only.
        roughness_m: height of the mounds (soft).
        feature_m: width of a mound (soft) or distance between slots (slots).
        slot_width_m: width of a slot (slots).
        slot_depth_m: depth of a slot (slots).
        size_m: side of the square that carries mounds or slots.
        seed: of the terrain's randomness.
    """

    name: str
    kind: str
    friction: float
    restitution: float
    stiffness_n_m: float
    damping_n_s_m: float
    roughness_m: float
    feature_m: float
    slot_width_m: float
    slot_depth_m: float
    size_m: float
    seed: int


def build(terrain: Terrain, client: int) -> list[int]:
    """Build a terrain into the PyBullet world `client`; its general surface lies at z = 0.

    Returns:
        The PyBullet body ids that make the ground.

    Raises:
        TerrainError: PyBullet can't build it.
    """
    builders = {"plane": _build_plane, "soft": _build_soft, "slots": _build_slots}
    if terrain.kind not in builders:
        raise TerrainError(
            f"terrain {terrain.name!r}: unknown kind {terrain.kind!r}; "
            f"use one of {sorted(builders)}"
        )
    try:
        bodies = builders[terrain.kind](terrain, client)
    except pybullet.error as error:
        raise TerrainError(f"terrain {terrain.name!r}: PyBullet can't build it: {error}") from error
    for body in bodies:
        pybullet.changeDynamics(
            body,
            -1,
            lateralFriction=terrain.friction,
            restitution=terrain.restitution,
            physicsClientId=client,
        )
    return bodies


def _plane(client: int, z_m: float = 0.0) -> int:
    shape = pybullet.createCollisionShape(
        pybullet.GEOM_PLANE, planeNormal=[0, 0, 1], physicsClientId=client
    )
    return _static(client, shape, (0.0, 0.0, z_m))


def _static(client: int, shape: int, position: tuple[float, float, float]) -> int:
    if shape < 0:
        raise TerrainError("PyBullet refused a collision shape of the terrain")
    # Bullet visits every multibody in every step, also one at rest; a resting rigid body it skips.
    body = pybullet.createMultiBody(
        0, shape, basePosition=position, useMaximalCoordinates=True, physicsClientId=client
    )
    if body < 0:
        raise TerrainError("PyBullet refused a body of the terrain")
    return int(body)


def _build_plane(terrain: Terrain, client: int) -> list[int]:
    return [_plane(client)]


def _build_soft(terrain: Terrain, client: int) -> list[int]:
    """A compliant box with low compliant mounds: caps of big buried spheres.

    Height fields and triangle meshes are sheets without a volume: a foot that sinks 30 mm falls
    through them; a box and a sphere hold at any depth. A box and not a plane, because Bullet clips
    box against box: the number of contact points, and with it the stiffness under a foot, does not
    depend on how the foot got there (on a plane the left legs sank twice as deep as the right).
    """
    if terrain.stiffness_n_m <= 0.0 or terrain.damping_n_s_m < 0.0:
        raise TerrainError(
            f"terrain {terrain.name!r}: a soft terrain needs stiffness_n_m > 0 and "
            f"damping_n_s_m >= 0, got {terrain.stiffness_n_m} and {terrain.damping_n_s_m}"
        )
    half_m = max(_SOFT_HALF_M, terrain.size_m)
    slab = pybullet.createCollisionShape(
        pybullet.GEOM_BOX, halfExtents=[half_m, half_m, 1.0], physicsClientId=client
    )
    bodies = [_static(client, slab, (0.0, 0.0, -1.0))]
    for x, y, height, radius in mounds(terrain):
        shape = pybullet.createCollisionShape(
            pybullet.GEOM_SPHERE, radius=radius, physicsClientId=client
        )
        bodies.append(_static(client, shape, (x, y, height - radius)))
    for body in bodies:
        pybullet.changeDynamics(
            body,
            -1,
            contactStiffness=terrain.stiffness_n_m,
            contactDamping=terrain.damping_n_s_m,
            physicsClientId=client,
        )
    return bodies


def mounds(terrain: Terrain) -> FloatArray:
    """(n, 4) mounds of a soft terrain: x, y, height and radius of the sphere, m; n may be 0."""
    if terrain.roughness_m <= 0.0:
        return np.zeros((0, 4))
    rng = np.random.default_rng(terrain.seed)
    # A cap is about twice as wide 30 mm under the surface as it is on it. Closer together, a foot
    # that sank in would stand on several mounds at once, each with its own spring.
    per_side = max(1, round(terrain.size_m / (2.0 * terrain.feature_m)))
    spacing_m = terrain.size_m / per_side
    grid = (np.arange(per_side) + 0.5) * spacing_m - terrain.size_m / 2.0
    places = np.array([(x, y) for x in grid for y in grid])
    places += rng.uniform(-0.15, 0.15, size=places.shape) * spacing_m
    height = rng.uniform(0.4, 1.0, size=len(places)) * terrain.roughness_m
    # Sphere whose cap of height h is 2 a wide: r = (a^2 + h^2) / (2 h).
    radius = ((terrain.feature_m / 2.0) ** 2 + height**2) / (2.0 * height)
    return np.column_stack([places, height, radius])


def slot_lines(terrain: Terrain) -> tuple[FloatArray, FloatArray]:
    """Where the slots of a doormat run: the middle line of each, along x and along y, m, rising.

    Raises:
        TerrainError: the slots don't fit their spacing, or there are too many.
    """
    width, spacing = terrain.slot_width_m, terrain.feature_m
    if not 0.0 < width < 0.5 * spacing or terrain.slot_depth_m <= 0.0:
        raise TerrainError(
            f"terrain {terrain.name!r}: slots need slot_depth_m > 0 and slot_width_m between 0 and "
            f"half of feature_m, got {terrain.slot_depth_m}, {width} and {spacing}"
        )
    tiles = _TILES * math.ceil(terrain.size_m / spacing / _TILES)
    if tiles > _MAX_TILES:
        raise TerrainError(
            f"terrain {terrain.name!r}: size_m {terrain.size_m} makes {tiles} x {tiles} tiles, "
            f"more than PyBullet holds in reason ({_MAX_TILES} x {_MAX_TILES}); use at most "
            f"{_MAX_TILES * spacing:.0f} m or a larger feature_m"
        )
    rng = np.random.default_rng(terrain.seed)
    lines = np.zeros((2, tiles + 1))
    lines[:, 1:] = np.cumsum(spacing * rng.uniform(0.85, 1.15, size=(2, tiles)), axis=1)
    lines -= 0.5 * lines[:, -1:]
    return lines[0], lines[1]


def _build_slots(terrain: Terrain, client: int) -> list[int]:
    """Square tiles with slots between them, on a plane at the slots' bottom.

    Against a height field of the same shape, boxes have exact edges, hold at any depth (a height
    field is a sheet, and toes got under it), make a third of the contacts and build in 0.2 s
    instead of 4 s.
    """
    x_lines, y_lines = slot_lines(terrain)
    depth_m = terrain.slot_depth_m
    # Tiles reach under the plane, so that Bullet always pushes a toe up or aside, never down.
    height_m = depth_m + _TILE_ROOT_M
    bodies = [_plane(client, -depth_m)]
    # Bullet takes 16 shapes per body: 4 x 4 tiles.
    for i in range(0, len(x_lines) - 1, _TILES):
        for j in range(0, len(y_lines) - 1, _TILES):
            xs, ys = x_lines[i : i + _TILES + 1], y_lines[j : j + _TILES + 1]
            middle = (float(xs.mean()), float(ys.mean()), -0.5 * height_m)
            places, halves = _tiles(xs - middle[0], ys - middle[1], terrain.slot_width_m, height_m)
            shape = pybullet.createCollisionShapeArray(
                shapeTypes=[pybullet.GEOM_BOX] * len(places),
                halfExtents=halves,
                collisionFramePositions=places,
                physicsClientId=client,
            )
            bodies.append(_static(client, shape, middle))
    return bodies


def _tiles(
    x_lines: FloatArray, y_lines: FloatArray, slot_width_m: float, height_m: float
) -> tuple[list[list[float]], list[list[float]]]:
    """Centres and half extents, (n, 3) m, of the boxes between slot lines."""
    places, halves = [], []
    for x0, x1 in pairwise(x_lines):
        for y0, y1 in pairwise(y_lines):
            places.append([float(x0 + x1) / 2.0, float(y0 + y1) / 2.0, 0.0])
            sides = (float(x1 - x0) - slot_width_m, float(y1 - y0) - slot_width_m, height_m)
            halves.append([side / 2.0 for side in sides])
    return places, halves


def surface_height(terrain: Terrain, x_m: float, y_m: float) -> float:
    """Height of the undisturbed ground at a place, m; 0 is the general surface."""
    if terrain.kind == "slots":
        half_m = terrain.slot_width_m / 2.0
        for lines, value in zip(slot_lines(terrain), (x_m, y_m), strict=True):
            if not lines[0] < value < lines[-1] or np.abs(lines - value).min() < half_m:
                return -terrain.slot_depth_m
    highest = 0.0
    if terrain.kind == "soft":
        for x, y, height, radius in mounds(terrain):
            squared = radius**2 - (x - x_m) ** 2 - (y - y_m) ** 2
            if squared > 0.0:
                highest = max(highest, math.sqrt(squared) + height - radius)
    return highest

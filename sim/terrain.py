# SPDX-License-Identifier: MIT
"""Ground of the twin: a plane, a soft mattress, or a doormat with slots.

`build` puts a terrain into a PyBullet world. All its numbers come from the configuration; this
module has no defaults. Random placement uses the terrain's own seed, so that equal terrains are
equal in every world.
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
    """The terrain can't be built; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """Parameters of a terrain.

    Attributes:
        name: name for messages and records.
        kind: `plane`, `soft` or `slots`.
        friction: lateral friction of the ground (PyBullet multiplies it by 1, that of the feet).
        restitution: coefficient of restitution.
        stiffness_n_m: stiffness per contact point (soft).
        damping_n_s_m: damping per contact point (soft).
        roughness_m: height of the highest mounds (soft).
        feature_m: width of a mound (soft) or distance between slots (slots).
        slot_width_m: width of a slot (slots).
        slot_depth_m: depth of a slot (slots).
        size_m: side of the square that carries mounds or slots.
        seed: random seed of mounds and slots.
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
    """Build a terrain in a PyBullet world; its general surface lies at z = 0.

    Args:
        terrain: what to build.
        client: PyBullet's client id of the world.

    Returns:
        PyBullet's body ids of the ground.

    Raises:
        TerrainError: unknown kind, impossible numbers, or PyBullet refuses.
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
    # Bullet updates every multibody in every step, even at rest, but skips a resting rigid body.
    body = pybullet.createMultiBody(
        0, shape, basePosition=position, useMaximalCoordinates=True, physicsClientId=client
    )
    if body < 0:
        raise TerrainError("PyBullet refused a body of the terrain")
    return int(body)


def _build_plane(terrain: Terrain, client: int) -> list[int]:
    return [_plane(client)]


def _build_soft(terrain: Terrain, client: int) -> list[int]:
    """Build a compliant box with low compliant mounds, which are caps of large buried spheres.

    Height fields and triangle meshes are surfaces without volume: a foot that sinks in by 30 mm
    falls through them, whereas boxes and spheres hold at any depth. The base is a box rather than a
    plane because Bullet clips boxes against boxes: the number of contact points, and with it the
    stiffness under a foot, does not depend on the path of the foot. On a plane the left legs sank
    twice as deep as the right ones.
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
    """Mounds of a soft terrain, (n, 4) m: x, y, height, radius of the sphere; n may be 0."""
    if terrain.roughness_m <= 0.0:
        return np.zeros((0, 4))
    rng = np.random.default_rng(terrain.seed)
    # A cap is about twice as wide 30 mm below the surface as at it. With a smaller spacing a foot
    # that sinks in would touch several mounds at once, each with its own stiffness.
    per_side = max(1, round(terrain.size_m / (2.0 * terrain.feature_m)))
    spacing_m = terrain.size_m / per_side
    grid = (np.arange(per_side) + 0.5) * spacing_m - terrain.size_m / 2.0
    places = np.array([(x, y) for x in grid for y in grid])
    places += rng.uniform(-0.15, 0.15, size=places.shape) * spacing_m
    height = rng.uniform(0.4, 1.0, size=len(places)) * terrain.roughness_m
    # Radius of a sphere whose cap has height h and width 2 a: r = (a^2 + h^2) / (2 h).
    radius = ((terrain.feature_m / 2.0) ** 2 + height**2) / (2.0 * height)
    return np.column_stack([places, height, radius])


def slot_lines(terrain: Terrain) -> tuple[FloatArray, FloatArray]:
    """Centre lines of a doormat's slots: sorted x positions and sorted y positions, m.

    Raises:
        TerrainError: the slots don't fit into their spacing, or there are too many tiles.
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
            f"more than PyBullet can handle ({_MAX_TILES} x {_MAX_TILES}); use at most "
            f"{_MAX_TILES * spacing:.0f} m or a larger feature_m"
        )
    rng = np.random.default_rng(terrain.seed)
    lines = np.zeros((2, tiles + 1))
    lines[:, 1:] = np.cumsum(spacing * rng.uniform(0.85, 1.15, size=(2, tiles)), axis=1)
    lines -= 0.5 * lines[:, -1:]
    return lines[0], lines[1]


def _build_slots(terrain: Terrain, client: int) -> list[int]:
    """Build rectangular tiles with slots between them, on a plane at the bottom of the slots.

    Compared to a height field of the same shape, boxes have exact edges, hold at any depth (toes
    got below the height field), cause a third of the contacts and build in 0.2 s instead of 4 s.
    """
    x_lines, y_lines = slot_lines(terrain)
    depth_m = terrain.slot_depth_m
    # Tiles extend below the plane, so that Bullet pushes a toe up or sideways, never down.
    height_m = depth_m + _TILE_ROOT_M
    bodies = [_plane(client, -depth_m)]
    # Bullet accepts 16 shapes per body: 4 x 4 tiles.
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
    """Height of the undeformed ground at (x, y), m; the general surface is 0."""
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

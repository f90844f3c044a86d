# SPDX-License-Identifier: MIT
"""What the robot stands on: a plane, a soft mattress, or a doormat with slots.

A terrain is built once into a PyBullet world. Its parameters come from a YAML file of `configs/`;
this module only knows the numbers. Everything random is drawn from the terrain's own seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pybullet

FloatArray = npt.NDArray[np.float64]

GRAVITY_M_S2 = 9.81
_SOFT_HALF_M = 20.0


class TerrainError(ValueError):
    """A terrain that PyBullet can't build; the message says why."""


@dataclass(frozen=True)
class Terrain:
    """Numbers of a terrain.

    Attributes:
        name: for messages and records.
        kind: `plane`, `soft` or `heightfield`.
        friction: lateral friction of the ground (the feet have 1; PyBullet multiplies).
        restitution: bounciness.
        stiffness_n_m: spring of the contact, soft kinds only.
        damping_n_s_m: damper of the contact, soft kinds only.
        roughness_m: height of the mounds (soft).
        feature_m: width of a mound (soft) or distance between slots (height field).
        slot_width_m: width of a slot (height field).
        slot_depth_m: depth of a slot (height field).
        size_m: side of the square that carries mounds or slots.
        seed: of the terrain's randomness.
    """

    name: str = "flat"
    kind: str = "plane"
    friction: float = 1.0
    restitution: float = 0.0
    stiffness_n_m: float = 0.0
    damping_n_s_m: float = 0.0
    roughness_m: float = 0.0
    feature_m: float = 0.6
    slot_width_m: float = 0.03
    slot_depth_m: float = 0.012
    size_m: float = 6.0
    seed: int = 0


def build(terrain: Terrain, client: int) -> list[int]:
    """Build a terrain into the PyBullet world `client`; its general surface lies at z = 0.

    Returns:
        The PyBullet body ids that make the ground.

    Raises:
        TerrainError: PyBullet can't build it.
    """
    builders = {"plane": _build_plane, "soft": _build_soft, "heightfield": _build_slots}
    if terrain.kind not in builders:
        raise TerrainError(
            f"terrain {terrain.name!r}: unknown kind {terrain.kind!r}; use one of {sorted(builders)}"
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
    body = pybullet.createMultiBody(0, shape, basePosition=position, physicsClientId=client)
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
            f"terrain {terrain.name!r}: a soft terrain needs stiffness_n_m > 0 and damping_n_s_m >= 0"
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


def surface_height(terrain: Terrain, x_m: float, y_m: float) -> float:
    """Height of the undisturbed plane or soft surface at a place, m; 0 is the general surface."""
    highest = 0.0
    if terrain.kind == "soft":
        for x, y, height, radius in mounds(terrain):
            squared = radius**2 - (x - x_m) ** 2 - (y - y_m) ** 2
            if squared > 0.0:
                highest = max(highest, math.sqrt(squared) + height - radius)
    return highest


def slot_heights(terrain: Terrain, cell_m: float) -> np.ndarray:
    """(n, n) heights, m: 0 on the mat, -depth in slots that run along both axes, jittered.

    Raises:
        TerrainError: the slots don't fit their spacing, or a slot is finer than a cell.
    """
    if terrain.slot_width_m < cell_m or terrain.feature_m <= 2.0 * terrain.slot_width_m:
        raise TerrainError(
            f"terrain {terrain.name!r}: slot_width_m {terrain.slot_width_m} must be at least "
            f"{cell_m} and less than half of feature_m {terrain.feature_m}"
        )
    n = round(terrain.size_m / cell_m) + 1
    rng = np.random.default_rng(terrain.seed)
    coordinate = np.arange(n) * cell_m
    in_slot = np.zeros((2, n), dtype=bool)
    for axis in range(2):
        start = rng.uniform(0.0, terrain.feature_m)
        while start < terrain.size_m:
            in_slot[axis] |= (coordinate >= start) & (coordinate < start + terrain.slot_width_m)
            start += terrain.feature_m * rng.uniform(0.8, 1.2)
    return np.where(in_slot[0][:, None] | in_slot[1][None, :], -terrain.slot_depth_m, 0.0)


_CELL_M = 0.015
_MAX_CELLS = 4_000_000


def _build_slots(terrain: Terrain, client: int) -> list[int]:
    """A height field with slots over a plane at the slots' bottom."""
    n = round(terrain.size_m / _CELL_M) + 1
    if n * n > _MAX_CELLS:
        raise TerrainError(
            f"terrain {terrain.name!r}: size_m {terrain.size_m} makes {n * n} cells, more than "
            f"PyBullet takes ({_MAX_CELLS}); use at most {int(_MAX_CELLS**0.5) * _CELL_M:.0f} m"
        )
    heights = slot_heights(terrain, _CELL_M)
    shape = pybullet.createCollisionShape(
        pybullet.GEOM_HEIGHTFIELD,
        meshScale=[_CELL_M, _CELL_M, 1.0],
        heightfieldTextureScaling=n - 1,
        heightfieldData=heights.T.ravel().tolist(),
        numHeightfieldRows=n,
        numHeightfieldColumns=n,
        physicsClientId=client,
    )
    # Bullet centres a height field between its extremes.
    field = _static(client, shape, (0.0, 0.0, -0.5 * terrain.slot_depth_m))
    return [field, _plane(client, -terrain.slot_depth_m - 0.005)]

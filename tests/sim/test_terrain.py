# SPDX-License-Identifier: MIT
"""Properties of the three shipped terrains; invalid terrains are refused."""

import dataclasses

import numpy as np
import pybullet
import pytest
from twins import make_terrain

from walkhome.sim.terrain import TerrainError, mounds, slot_lines, surface_height

DT_S = 0.002
CORNERS = [(x, y) for x in (-0.005, 0.005) for y in (-0.005, 0.005)]
SHANK_ENDS_M = (0.199, 0.2)  # the left and the right shank's boxes, URDF


def soles(twin):
    """Lowest corner of each foot, (4, 3) m, world frame."""
    lowest = []
    for links in twin.foot_links:
        corners = []
        for link, end in zip(links, SHANK_ENDS_M, strict=True):
            frame = pybullet.getLinkState(
                twin.quadruped, link, computeForwardKinematics=1, physicsClientId=twin.client
            )[4:6]
            corners += [
                pybullet.multiplyTransforms(*frame, [x, y, end], [0, 0, 0, 1])[0]
                for x, y in CORNERS
            ]
        lowest.append(min(corners, key=lambda corner: corner[2]))
    return np.array(lowest)


def depths_m(twin, terrain):
    """Depth of each foot below the undeformed surface at its place, (4,) m."""
    return np.array([surface_height(terrain, x, y) - z for x, y, z in soles(twin)])


# -- mattress ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 1.0), (-1.5, 0.7)])
def test_feet_sink_into_the_mattress(make_twin, shipped, command, hold, place):
    mattress = shipped("mattress")
    twin = make_twin(mattress)
    twin.place([*place, 0.22], [0, 0, 0, 1], None)
    hold(twin, 2.0)
    standing = depths_m(twin, mattress)
    assert (standing > 0.015).all()
    assert (standing < 0.04).all()
    stepping = []
    for step in range(66):
        lift = 0.5 * np.sin(2 * np.pi * 1.5 * step * 0.02) * np.array([1, -1, -1, 1])
        twin.command(command(twin, action=[0, 0, 0, 0, *lift]))
        twin.advance(0.02)
        stepping.append(depths_m(twin, mattress))
    per_foot = np.max(stepping, axis=0)
    assert (per_foot > 0.015).all()
    assert (per_foot < 0.045).all()


def test_the_floor_is_hard(make_twin, shipped, hold):
    twin = make_twin(shipped("flat"))
    hold(twin, 1.0)
    assert np.abs(depths_m(twin, shipped("flat"))).max() < 0.003


def test_the_mattress_swallows_energy(make_twin, shipped):
    """Dropped limp and folded, the trunk bounces less than on the floor."""
    rebound = {}
    for name in ("flat", "mattress"):
        twin = make_twin(shipped(name))
        twin.place([0.0, 0.0, 0.4], [0, 0, 0, 1], np.full(8, 0.3))
        heights = []
        for _ in range(50):
            twin.advance(0.02)
            heights.append(twin.true_state().position_m[2])
        low = int(np.argmin(heights[:25]))
        rebound[name] = max(heights[low:]) - heights[low]
    assert rebound["mattress"] < 0.08
    assert rebound["mattress"] <= rebound["flat"] + 0.03


def test_the_mattress_is_gently_uneven(shipped):
    mattress = shipped("mattress")
    height_m = mounds(mattress)[:, 2]
    assert len(height_m) >= 9
    assert 0.005 <= height_m.min() < height_m.max() <= 0.015
    grid = np.linspace(-2.5, 2.5, 41)
    surface = np.array([[surface_height(mattress, x, y) for x in grid] for y in grid])
    assert surface.min() == 0.0
    assert surface.max() > 0.005
    slope = np.abs(np.diff(surface, axis=0)).max() / (grid[1] - grid[0])
    assert slope < 0.1


def test_the_surface_is_where_a_ray_meets_it(make_twin, shipped):
    rng = np.random.default_rng(2)
    for name in ("flat", "mattress", "doormat"):
        terrain = shipped(name)
        twin = make_twin(terrain)
        twin.place([20.0, 20.0, 1.0], [0, 0, 0, 1], None)
        for x, y in rng.uniform(-2.5, 2.5, (50, 2)):
            hit = pybullet.rayTest([x, y, 1.0], [x, y, -1.0], physicsClientId=twin.client)[0]
            assert hit[3][2] == pytest.approx(surface_height(terrain, x, y), abs=1e-3)


# -- doormat -----------------------------------------------------------------------------------


def test_the_doormat_covers_the_workspace_with_slots(shipped):
    doormat = shipped("doormat")
    for lines in slot_lines(doormat):
        assert lines[0] < -2.8
        assert lines[-1] > 2.8
        gaps = np.diff(lines)
        assert 0.11 < gaps.min() < gaps.max() < 0.16
    assert 0.03 <= doormat.slot_width_m <= 0.04
    assert 0.012 <= doormat.slot_depth_m <= 0.015


def dragged_m(twin, hold, command, force_n):
    """Distance that the feet slide while the standing robot is pulled forward for 0.6 s."""
    twin.place([0.02, 0.0, 0.2], [0, 0, 0, 1], None)
    hold(twin, 0.6, kp=1.0, kd=0.02)
    start = soles(twin)[:, 0]
    twin.command(command(twin, kp=1.0, kd=0.02, valid_s=1.0))
    for _ in range(300):
        pybullet.applyExternalForce(
            twin.quadruped, -1, [force_n, 0, 0], twin.true_state().position_m,
            pybullet.WORLD_FRAME, physicsClientId=twin.client,
        )  # fmt: skip
        twin.advance(DT_S)
    return soles(twin)[:, 0] - start


def test_toes_catch_in_the_slots(make_twin, shipped, hold, command):
    """On slippery ground a pull moves the robot, unless its toes catch in a slot."""
    slid = {
        name: dragged_m(
            make_twin(dataclasses.replace(shipped(name), friction=0.1)), hold, command, 20.0
        )
        for name in ("flat", "doormat")
    }
    assert slid["flat"].min() > 0.3
    assert slid["doormat"].max() < 0.16  # one distance between slots


def test_feet_reach_into_slots_and_never_under_them(make_twin, shipped, command):
    doormat = shipped("doormat")
    twin = make_twin(doormat)
    rng = np.random.default_rng(0)
    lowest = []
    for step in range(100):
        if step % 4 == 0:
            action = rng.uniform(-1, 1, 8)
        twin.command(command(twin, action=action, kp=1.0, kd=0.01))
        twin.advance(0.02)
        lowest.append(soles(twin)[:, 2].min())
    bottom = -doormat.slot_depth_m
    assert min(lowest) < 0.5 * bottom
    assert min(lowest) > bottom - 0.006


# -- all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mattress", "doormat"])
def test_a_seed_is_a_terrain(shipped, name):
    terrain = shipped(name)
    other = dataclasses.replace(terrain, seed=1)
    shape = mounds if name == "mattress" else slot_lines
    np.testing.assert_array_equal(shape(terrain), shape(dataclasses.replace(terrain)))
    assert not np.array_equal(np.array(shape(terrain)), np.array(shape(other)))


NUMBERS = {
    "stiffness_n_m": 0.0,
    "damping_n_s_m": 0.0,
    "feature_m": 0.6,
    "slot_width_m": 0.03,
    "slot_depth_m": 0.012,
    "size_m": 6.0,
}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "lava"}, "unknown kind 'lava'.*plane.*slots.*soft"),
        ({"kind": "soft"}, "stiffness_n_m > 0"),
        ({"kind": "soft", "stiffness_n_m": 100.0, "damping_n_s_m": -1.0}, "damping_n_s_m >= 0"),
        ({"kind": "slots", "slot_width_m": 0.4}, "half of feature_m"),
        ({"kind": "slots", "slot_depth_m": 0.0}, "slot_depth_m > 0"),
        ({"kind": "slots", "feature_m": 0.1, "size_m": 100.0}, "use at most 40 m"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(make_twin, fields, reason):
    with pytest.raises(TerrainError, match=reason):
        make_twin(make_terrain(name="mine", **(NUMBERS | fields)))


def test_friction_reaches_every_body_of_the_ground(make_twin, shipped):
    for name in ("flat", "mattress", "doormat"):
        twin = make_twin(dataclasses.replace(shipped(name), friction=0.7))
        for body in twin.ground_bodies:
            info = pybullet.getDynamicsInfo(body, -1, physicsClientId=twin.client)
            assert info[1] == pytest.approx(0.7)


def test_stiffness_decides_how_deep_the_feet_sink(make_twin, shipped, hold):
    depth = {}
    for factor in (1.0, 4.0):
        soft = shipped("mattress")
        soft = dataclasses.replace(soft, stiffness_n_m=factor * soft.stiffness_n_m, roughness_m=0.0)
        twin = make_twin(soft)
        hold(twin, 2.0)
        depth[factor] = depths_m(twin, soft).mean()
    assert 2.5 < depth[1.0] / depth[4.0] < 6.0

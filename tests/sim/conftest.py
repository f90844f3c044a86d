# SPDX-License-Identifier: MIT
"""Fixtures: twins that are closed after the test, and bullet3's Minitaur."""

import functools
import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml
from twins import make_robot, make_settings, make_terrain

from walkhome.hardware.robot import MotorCommand
from walkhome.sim.terrain import Terrain
from walkhome.sim.twin import PyBulletRobot

TERRAINS = Path(__file__).resolve().parents[2] / "configs" / "terrains"
DT_S = 0.002


@pytest.fixture
def shipped():
    """Load a shipped terrain by name."""

    def load(name: str) -> Terrain:
        return make_terrain(**yaml.safe_load((TERRAINS / f"{name}.yaml").read_text()))

    return load


@pytest.fixture
def make_twin():
    """Create twins, without noise by default; they are closed after the test."""
    made = []

    def make(terrain=None, seed=0, noise=False, **settings) -> PyBulletRobot:
        if not noise:
            settings = {
                "motor_angle_noise_rad": 0.0,
                "motor_velocity_noise_rad_s": 0.0,
                "motor_torque_noise_nm": 0.0,
                "attitude_noise_rad": 0.0,
                "angular_velocity_noise_rad_s": 0.0,
            } | settings
        made.append(make_robot(terrain, make_settings(**settings), seed=seed))
        return made[-1]

    yield make
    for twin in made:
        twin.close()


@pytest.fixture
def command():
    """Create a command with the body's gains from motor angles or from an (8,) action."""

    def make(twin, motor_rad=None, action=None, **fields) -> MotorCommand:
        if action is not None:
            motor_rad = twin.body.action_to_motor(np.asarray(action, dtype=float))
        if motor_rad is None:
            motor_rad = twin.body.stance_motor_rad()
        return MotorCommand(motor_rad, **({"kp": twin.body.kp, "kd": twin.body.kd} | fields))

    return make


@pytest.fixture
def hold(command):
    """Command one posture at 50 Hz for some seconds."""

    def run(twin, seconds, **fields) -> None:
        for _ in range(round(seconds / 0.02)):
            twin.command(command(twin, **fields))
            twin.advance(0.02)

    return run


@pytest.fixture(scope="session")
def bullet3():
    """bullet3's modules `minitaur` and `motor`, without their packages, which need the old gym."""
    spec = importlib.util.find_spec("pybullet_envs")
    root = Path(spec.submodule_search_locations[0])
    before = dict(sys.modules)
    for parts in ((), ("minitaur",), ("minitaur", "envs")):
        package = types.ModuleType(".".join(("pybullet_envs", *parts)))
        package.__path__ = [str(root.joinpath(*parts))]
        sys.modules[package.__name__] = package
    load = functools.partial(importlib.import_module, package=None)
    modules = types.SimpleNamespace(
        minitaur=load("pybullet_envs.minitaur.envs.minitaur"),
        motor=load("pybullet_envs.minitaur.envs.motor"),
    )
    for name in [name for name in sys.modules if name.startswith("pybullet_envs")]:
        if name not in before:
            del sys.modules[name]
    return modules

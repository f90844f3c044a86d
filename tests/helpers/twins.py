# SPDX-License-Identifier: MIT
"""Terrains and twins with the schema's defaults, a few values changed."""

from bodies import MINITAUR

from walkhome.robot.config.schema import SimConfig, TerrainConfig
from walkhome.sim.terrain import Terrain
from walkhome.sim.twin import PyBulletRobot, TwinSettings


def make_terrain(**changes) -> Terrain:
    """A terrain with these values changed; the schema's ranges are not checked."""
    return Terrain(**(TerrainConfig().model_dump() | changes))


def make_settings(**changes) -> TwinSettings:
    """Settings of the twin with these values changed; the schema's ranges are not checked."""
    return TwinSettings(**(SimConfig().model_dump() | changes))


def make_robot(terrain=None, settings=None, **keywords) -> PyBulletRobot:
    """A twin of the shipped body, on the flat floor unless `terrain` says otherwise."""
    keywords = {"body": MINITAUR} | keywords
    return PyBulletRobot(terrain or make_terrain(), settings or make_settings(), **keywords)

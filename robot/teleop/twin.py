# SPDX-License-Identifier: MIT
"""The twin for teleoperation, with an optional PyBullet window and an optional film."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pybullet

from walkhome.hardware.robot import RobotError
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import PacedClock
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.teleop.telemetry import DrivePeriod, DriveState
from walkhome.robot.video.film import Film
from walkhome.sim.render import follow_in_window, paint_ground, tidy_window
from walkhome.sim.twin import PyBulletRobot

_FOLLOW_EVERY = 5  # control periods

PeriodListeners = list[Callable[[DrivePeriod], None]]


@contextlib.contextmanager
def open_twin(
    config: Config, seed: int, paced: bool, gui: bool, video: Path | None
) -> Iterator[tuple[Plant, PeriodListeners]]:
    """Open a twin; yield it with the functions to call after each control period.

    Args:
        config: configuration of the run, perhaps on another terrain.
        seed: seed of the twin's noise.
        paced: whether to run at wall-clock speed, for a person who drives or watches.
        gui: whether to open PyBullet's window.
        video: path of the film; None: no film. The film is deleted if the drive fails.

    Raises:
        VideoError: the film can't be written.
        TerrainError: PyBullet can't build the terrain.
        RobotError: the twin failed, or its window was closed.
    """
    listeners: PeriodListeners = []
    with contextlib.ExitStack() as stack:
        plant = make_twin(config, seed, gui)
        stack.callback(plant.robot.close)
        if paced:
            plant.clock = PacedClock(plant.clock)
        if gui:
            listeners.append(_Window(plant))
        film = None
        if video is not None:
            film = _film(plant, video, listeners)
            stack.callback(film.discard)
        try:
            yield plant, listeners
        except pybullet.error as error:
            raise RobotError(f"the twin is gone ({error}): was its window closed?") from None
        if film is not None:
            film.close()


class _Window:
    """Moves the camera of PyBullet's window with the robot."""

    def __init__(self, plant: Plant) -> None:
        assert isinstance(plant.robot, PyBulletRobot)
        self._twin, self._periods = plant.robot, 0
        tidy_window(self._twin.client)
        paint_ground(self._twin.terrain, self._twin.client)

    def __call__(self, period: DrivePeriod) -> None:
        if self._periods % _FOLLOW_EVERY == 0:
            follow_in_window(self._twin.client, self._twin.true_state().position_m)
        self._periods += 1


def _film(plant: Plant, path: Path, listeners: PeriodListeners) -> Film:
    """Begin a film of the drive, and add it to the listeners."""
    from walkhome.robot.video.overlay import Caption

    def caption(period: DrivePeriod) -> Caption:
        roll_rad, pitch_rad, _ = roll_pitch_yaw(period.state.attitude_xyzw)
        driving = period.drive_state is DriveState.DRIVING
        return Caption(
            period.gait if driving else period.drive_state.value,
            (period.input.note, f"falls {period.statistics.falls}"),
            roll_rad,
            pitch_rad,
            period.action if driving else None,
            period.filtered if driving else None,
        )

    film = Film(plant.robot, path, plant.clock.period_s)
    listeners.append(lambda period: film.period(lambda: caption(period)))
    return film

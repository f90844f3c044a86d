# SPDX-License-Identifier: MIT
"""The twin to drive: with PyBullet's window, and a film of it, where somebody asks for them."""

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

Watchers = list[Callable[[DrivePeriod], None]]


@contextlib.contextmanager
def twin_stage(
    config: Config, seed: int, paced: bool, gui: bool, video: Path | None
) -> Iterator[tuple[Plant, Watchers]]:
    """A twin, and who wants to be told every period of it.

    Args:
        config: of the run, perhaps on another terrain.
        seed: of the twin's noise.
        paced: at a robot's pace, for people.
        gui: open PyBullet's window.
        video: film it here; no film is left if the drive fails.

    Raises:
        VideoError: the film can't be written.
        RobotError: the twin failed, or its window was closed.
    """
    watchers: Watchers = []
    with contextlib.ExitStack() as stack:
        plant = make_twin(config, seed, gui)
        stack.callback(plant.robot.close)
        if paced:
            plant.clock = PacedClock(plant.clock)
        if gui:
            watchers.append(_Window(plant))
        film = None
        if video is not None:
            film = _film(plant, video, watchers)
            stack.callback(film.discard)
        try:
            yield plant, watchers
        except pybullet.error as error:
            raise RobotError(f"the twin is gone ({error}): was its window closed?") from None
        if film is not None:
            film.close()


class _Window:
    """Keeps PyBullet's window on the robot."""

    def __init__(self, plant: Plant) -> None:
        assert isinstance(plant.robot, PyBulletRobot)
        self._twin, self._periods = plant.robot, 0
        tidy_window(self._twin.client)
        paint_ground(self._twin.terrain, self._twin.client)

    def __call__(self, moment: DrivePeriod) -> None:
        if self._periods % _FOLLOW_EVERY == 0:
            follow_in_window(self._twin.client, self._twin.true_state().position_m)
        self._periods += 1


def _film(plant: Plant, path: Path, watchers: Watchers) -> Film:
    """A film of the drive, which hears of every period."""
    from walkhome.robot.video.overlay import Caption

    def caption(moment: DrivePeriod) -> Caption:
        roll, pitch, _ = roll_pitch_yaw(moment.state.attitude_xyzw)
        drives = moment.drive_state is DriveState.DRIVING
        return Caption(
            moment.gait if drives else moment.drive_state.value,
            (moment.input.note, f"falls {moment.statistics.falls}"),
            roll,
            pitch,
            moment.action if drives else None,
            moment.filtered if drives else None,
        )

    film = Film(plant.robot, path, plant.clock.period_s)
    watchers.append(lambda moment: film.period(lambda: caption(moment)))
    return film

# SPDX-License-Identifier: MIT
"""Films of the twin: a strip of pictures for the report, or a video with captions.

Both receive every control period of a roll-out. `sim.render.TwinCamera` renders the pictures; it
needs no display.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from walkhome.hardware.robot import Robot
from walkhome.robot.control.period import Period
from walkhome.sim.render import TwinCamera
from walkhome.sim.twin import PyBulletRobot

if TYPE_CHECKING:
    from walkhome.robot.video.overlay import (
        Caption,  # needs Pillow, which evaluation can do without
    )

FRAMES = 8
FIRST_S = 2.0  # time of the first picture, when the gait has settled
EVERY_S = 0.1  # time between pictures, about a third of a stride
FILM_FPS = 25.0


class StepListener(Protocol):
    """Receives every control period of a roll-out."""

    def __call__(self, period: Period) -> None:
        """Handle one control period."""
        ...

    def close(self) -> None:
        """Finish the recording after a complete roll-out."""
        ...

    def discard(self) -> None:
        """Clean up after a failed roll-out; leave no partial file."""
        ...


class FilmStrip:
    """Takes `FRAMES` pictures of one roll-out, `<task>-<number>.png`, for the report.

    Args:
        robot: the twin.
        folder: folder of the pictures; created if it does not exist.
        task: name of the roll-out's task; earlier pictures of it are removed.
        period_s: control period.

    Raises:
        ImportError: Pillow is not installed.
        TypeError: the robot is not a twin.
    """

    def __init__(self, robot: Robot, folder: Path, task: str, period_s: float) -> None:
        from PIL import Image

        self._image = Image
        self._camera = TwinCamera(_twin(robot), 360, 270)
        self._folder, self._task = folder, task
        first, every = round(FIRST_S / period_s), max(1, round(EVERY_S / period_s))
        self._when = range(first, first + FRAMES * every, every)
        self._steps = 0
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{task}-*.png"):
            old.unlink()

    def __call__(self, period: Period) -> None:
        """Handle one control period: take a picture if one is due."""
        if self._steps in self._when:
            number = self._when.index(self._steps)
            picture = self._image.fromarray(self._camera.shot())
            picture.save(self._folder / f"{self._task}-{number:02d}.png")
        self._steps += 1

    def close(self) -> None:
        """Release the camera of the strip."""
        self._camera.close()

    def discard(self) -> None:
        """Release the camera; the pictures stay, each is complete."""
        self._camera.close()


class Film:
    """A video of the twin in simulated time, with a caption on every picture.

    Args:
        robot: the twin.
        path: path of the .mp4 file.
        period_s: control period.

    Raises:
        ImportError: Pillow or imageio-ffmpeg is not installed.
        TypeError: the robot is not a twin.
        VideoError: the file cannot be written.

    Attributes:
        period_s: control period.
        periods: number of control periods so far.
    """

    def __init__(self, robot: Robot, path: Path, period_s: float) -> None:
        from walkhome.robot.video.mp4 import Mp4Writer

        twin = _twin(robot)
        self._every = max(1, round(1.0 / FILM_FPS / period_s))
        self._video = Mp4Writer(path, 1.0 / (self._every * period_s))
        self._camera = TwinCamera(twin)
        self.period_s, self.periods = period_s, 0

    def period(self, caption: Callable[[], Caption]) -> None:
        """Count a control period, and add a picture if one is due.

        Args:
            caption: makes the picture's caption; called only when a picture is due.

        Raises:
            VideoError: ffmpeg failed.
        """
        if self.periods % self._every == 0:
            from walkhome.robot.video.overlay import draw_caption

            self._video.add(draw_caption(self._camera.shot(), caption()))
        self.periods += 1

    def close(self) -> None:
        """Finish the file; a film without pictures leaves no file.

        Raises:
            VideoError: ffmpeg failed; there is no file then.
        """
        self._camera.close()
        if self.periods:
            self._video.close()
        else:
            self._video.discard()

    def discard(self) -> None:
        """End the film without leaving a file; does nothing after `close`."""
        self._camera.close()
        self._video.discard()


class RollOutFilm(Film):
    """A video of one roll-out; receives its control periods."""

    def __call__(self, period: Period) -> None:
        """Handle one control period: add a picture with task, speed and actions if one is due."""
        self.period(lambda: self._caption(period))

    def _caption(self, period: Period) -> Caption:
        from walkhome.robot.video.overlay import Caption

        step = period.step
        assert step is not None, "only roll-outs are filmed"
        speed_m_s, turn_rad_s = float(step.features[3]), float(step.features[2])
        lines = (
            f"{self.periods * self.period_s:.1f} s",
            f"{speed_m_s:.2f} m/s   {turn_rad_s:+.1f} rad/s",
        )
        return Caption(
            step.task, lines, period.roll_rad, period.pitch_rad, step.action, step.filtered
        )


def _twin(robot: Robot) -> PyBulletRobot:
    if not isinstance(robot, PyBulletRobot):
        raise TypeError("only the twin can be filmed")
    return robot

# SPDX-License-Identifier: MIT
"""A film strip of a gait: a few pictures of an evaluation roll-out, for the report.

Pictures are `<task>-<number>.png` in the run's report/frames. PyBullet's software renderer needs no
display; writing PNG needs Pillow, which the extra `report` brings.
"""

from __future__ import annotations

from pathlib import Path

from hardware.robot import Robot
from robot.episode import Step

FRAMES = 8
FIRST_S = 2.0  # the gait has settled by then
EVERY_S = 0.1  # about a third of a stride


class FilmStrip:
    """Takes `FRAMES` pictures of one roll-out; give it to `Episodes.run` as `on_step`.

    Args:
        robot: the twin.
        folder: where the pictures go; made if it is not there.
        task: whose roll-out it is.
        period_s: control period.

    Raises:
        ImportError: Pillow or PyBullet is not installed.
        TypeError: the robot is not the twin.
    """

    def __init__(self, robot: Robot, folder: Path, task: str, period_s: float) -> None:
        from PIL import Image

        from sim.render import Camera
        from sim.twin import PyBulletRobot

        if not isinstance(robot, PyBulletRobot):
            raise TypeError("only the twin can be filmed")
        self._image = Image
        self._camera = Camera(robot, 360, 270)
        self._folder, self._task = folder, task
        first, every = round(FIRST_S / period_s), max(1, round(EVERY_S / period_s))
        self._when = range(first, first + FRAMES * every, every)
        self._steps = 0
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{task}-*.png"):
            old.unlink()

    def __call__(self, step: Step) -> None:
        """One control step has passed."""
        if self._steps in self._when:
            number = self._when.index(self._steps)
            picture = self._image.fromarray(self._camera.shot())
            picture.save(self._folder / f"{self._task}-{number:02d}.png")
        self._steps += 1

    def close(self) -> None:
        """Take the camera down."""
        self._camera.close()

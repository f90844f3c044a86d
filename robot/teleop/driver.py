# SPDX-License-Identifier: MIT
"""The dead-man rule: keeps the newest driver input and decides whether the robot may move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from walkhome.robot.teleop.driver_input import DriverInput, InputSource


class Driver:
    """Polls an input source and applies the rule of the dead-man switch.

    After a stop button or a fault the dead-man must be released once before the robot moves again.

    Args:
        source: delivers the driver input.
        stop_requested: returns True once a signal has asked for the end of the drive.

    Attributes:
        input: the newest input.
        attended: whether a person drives, who can release the dead-man and press it again.
    """

    def __init__(self, source: InputSource, stop_requested: Callable[[], bool]) -> None:
        self._source, self._stop_requested = source, stop_requested
        self.input = DriverInput()
        self.attended = source.attended
        self._must_release = False

    def listen(self, driven_s: float) -> None:
        """Poll the source; does not block.

        Args:
            driven_s: robot time without stand-ups, s; the time of a script.
        """
        self.input = newest = self._source.poll(driven_s)
        if newest.stop is not None:
            self._must_release = True
        elif not newest.held:
            self._must_release = False

    def require_release(self) -> None:
        """Ignore the dead-man until it has been released once."""
        self._must_release = True

    def note(self, text: str) -> None:
        """Replace the note of the newest input."""
        self.input = replace(self.input, note=text)

    @property
    def stop_requested(self) -> bool:
        """Whether a signal has asked for the end of the drive."""
        return self._stop_requested()

    @property
    def gone(self) -> bool:
        """Whether the input has ended or its source is lost."""
        return self.input.ended or bool(self.input.lost)

    @property
    def let_go(self) -> bool:
        """Whether the robot must not move: no dead-man held, a stop, or no driver any more."""
        released = self._must_release or not self.input.held
        return self.gone or self.stop_requested or released

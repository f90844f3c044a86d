# SPDX-License-Identifier: MIT
"""What the driver wants now: the newest input, and whether the robot may move on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from walkhome.robot.teleop.driver_input import DriverInput, InputSource


class Driver:
    """Polls an input source and holds the rule of the dead-man switch.

    After a stop button, or a fault, the dead-man must be released before the robot moves again.

    Args:
        source: where inputs come from.
        stop_requested: True ends the drive; a signal, for instance.

    Attributes:
        input: the newest input.
        attended: whether a person drives, who can release and press again.
    """

    def __init__(self, source: InputSource, stop_requested: Callable[[], bool]) -> None:
        self._source, self._stop_requested = source, stop_requested
        self.input = DriverInput()
        self.attended = source.attended
        self._must_release = False

    def listen(self, driven_s: float) -> None:
        """Poll the source; never waits.

        Args:
            driven_s: robot time without stand-ups.
        """
        self.input = newest = self._source.poll(driven_s)
        if newest.stop is not None:
            self._must_release = True
        elif not newest.held:
            self._must_release = False

    def require_release(self) -> None:
        """Ignore the dead-man until it was released once."""
        self._must_release = True

    def note(self, text: str) -> None:
        """Replace the note of the newest input."""
        self.input = replace(self.input, note=text)

    @property
    def stop_requested(self) -> bool:
        """Whether a signal asked for the end."""
        return self._stop_requested()

    @property
    def gone(self) -> bool:
        """Whether no more input will come."""
        return self.input.ended or bool(self.input.lost)

    @property
    def let_go(self) -> bool:
        """Whether the robot must not move now."""
        released = self._must_release or not self.input.held
        return self.gone or self.stop_requested or released

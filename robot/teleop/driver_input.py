# SPDX-License-Identifier: MIT
"""Driver input, and the interface of its sources: script, keyboard, gamepad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from walkhome.hardware.robot import Stop


class TeleopError(ValueError):
    """Driver input, its source or its bindings can't be used; one line that says what to do."""


@dataclass(frozen=True, slots=True)
class DriverInput:
    """The driver's wish at one moment.

    Attributes:
        task: name of the task; None: stand.
        held: whether the dead-man is held and its source was active recently; if not, the robot
            settles.
        stop: the stop button that is pressed (settle, or cut the torque); None: none. After it the
            dead-man must be released before the robot moves again.
        scale: share of the learned stride, in (0, 1].
        ended: whether this is the last input.
        lost: why the source is lost for good, such as a closed terminal; empty otherwise.
        note: text for the screen: what is held, or why the dead-man counts as released.
    """

    task: str | None = None
    held: bool = False
    stop: Stop | None = None
    scale: float = 1.0
    ended: bool = False
    lost: str = ""
    note: str = ""


class InputSource(Protocol):
    """A source of driver input.

    Attributes:
        attended: whether a person drives, who can release the dead-man and press it again after a
            fault.
    """

    attended: bool

    def poll(self, driven_s: float) -> DriverInput:
        """Return the newest input; does not block.

        Args:
            driven_s: robot time without stand-ups, s; the time of a script.
        """
        ...

    def close(self) -> None:
        """Release the terminal or gamepad; safe to call twice."""
        ...

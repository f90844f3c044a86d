# SPDX-License-Identifier: MIT
"""What a driver wants, and the contract of whatever brings it: script, keyboard, gamepad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from walkhome.hardware.robot import Stop


class TeleopError(ValueError):
    """An input that can't be used; the message is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class DriverInput:
    """What the driver wants now.

    Attributes:
        task: to do; None is to stand.
        held: the dead-man is held, and the driver was heard of lately. The robot settles if not.
        stop: a stop button is pressed: settle, or cut the torque. Holding the dead-man further does
            not start the robot again; it must be let go first.
        scale: share of the learned stride, above 0, at most 1.
        ended: no more orders will come.
        lost: why the driver is gone for good, as a lost terminal; empty otherwise.
        note: for the screen: the pad's name, its battery, or why the dead-man counts as released.
    """

    task: str | None = None
    held: bool = False
    stop: Stop | None = None
    scale: float = 1.0
    ended: bool = False
    lost: str = ""
    note: str = ""


class InputSource(Protocol):
    """Where orders come from.

    Attributes:
        attended: a person gives them, who can let go and press again after a fault.
    """

    attended: bool

    def poll(self, driven_s: float) -> DriverInput:
        """The newest order; never waits.

        Args:
            driven_s: robot time without stand-ups, for scripts.
        """
        ...

    def close(self) -> None:
        """Give the terminal or the pad back; safe to call twice."""
        ...

# SPDX-License-Identifier: MIT
"""Interface between a robot and a watchdog process (`safety.supervisor.manager` is one)."""

from __future__ import annotations

from typing import Protocol


class Watchdog(Protocol):
    """Stops the robot when commands fail to arrive in time. No method waits or raises."""

    def hand_over(self, port: int) -> None:
        """Give the watchdog the file descriptor of a port that was just opened."""
        ...

    def take_back(self) -> None:
        """The watchdog must stop using the port: it is about to be closed."""
        ...

    def watch(self, on: bool) -> None:
        """Start or end supervision: commands are due from now on, or not any more."""
        ...

    def beat(self) -> None:
        """Report that a command has been written completely."""
        ...

    def trouble(self) -> str:
        """Why the robot must not be commanded now; empty if it may. Called every control period."""
        ...

    def fault(self) -> str:
        """Fault code of that trouble, as in `hardware.robot.RobotError.code`."""
        ...

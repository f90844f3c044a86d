# SPDX-License-Identifier: MIT
"""Interface between a robot and a watchdog process (`safety.supervisor.manager` is one)."""

from __future__ import annotations

from typing import Protocol


class Watchdog(Protocol):
    """Stops the robot when its commands stay away. No method waits, and none raises."""

    def hand_over(self, port: int) -> None:
        """The descriptor of a port that was opened just now."""
        ...

    def take_back(self) -> None:
        """That port is about to be closed."""
        ...

    def watch(self, on: bool) -> None:
        """Commands are due from now on; or not any more."""
        ...

    def beat(self) -> None:
        """A command has been written, all of it."""
        ...

    def trouble(self) -> str:
        """Why the robot must not be commanded now; empty if it may be. Asked every period."""
        ...

    def fault(self) -> str:
        """The code of that trouble, as `hardware.robot.RobotError.code`."""
        ...

# SPDX-License-Identifier: MIT
"""Starts the supervisor of one robot, queries it, and replaces it when it is lost.

    manager = SupervisorManager(limit_s)    # before the first arming
    robot.watched_by(manager)
    manager.trouble()                      # the robot calls it in every control period
    manager.renew()                        # before each arming, while the robot is limp

A robot is armed only with a live supervisor that has not fired. An emergency stop holds until the
control process ends, also when its latch is cleared meanwhile: clearing must not start the robot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.client import SupervisorClient, SupervisorLost
from walkhome.safety.supervisor.heartbeat import Fired

_FIRED = {
    Fired.SILENT: "the supervisor cut the torque: no command came for too long",
    Fired.GONE: "the supervisor cut the torque: the control process ended",
    Fired.ESTOP: "emergency stop",
}


def estop_reason(latch: Path | None = None) -> str:
    """Why the emergency stop is pressed and how to clear it; empty if it is not pressed.

    Args:
        latch: path of the latch; `estop.latch_path()` if None.
    """
    found = estop.read(None if latch is None else latch.parent)
    if found is None:
        return ""
    when = f" at {found.wall_time}" if found.wall_time else ""
    return f"pressed{when} by: {found.reason}; look why, then: robot estop --clear"


class SupervisorManager:
    """Implements `hardware.serial.watchdog.Watchdog` with a supervisor process.

    Args:
        limit_s: longest allowed time between two commands while commands are due.
        latch: path of the emergency stop's latch; `estop.latch_path()` if None.
        start: starts a supervisor process; a test can pass another one.

    Attributes:
        cuts: number of times that a supervisor cut the torque for missing commands.
        lost: number of times that a supervisor process had ended or hung.

    Raises:
        SupervisorLost: the process could not be started.
    """

    def __init__(
        self,
        limit_s: float,
        latch: Path | None = None,
        start: Callable[[float, Path | None], SupervisorClient] = SupervisorClient,
    ) -> None:
        self.cuts = self.lost = 0
        self._limit_s, self._latch, self._start = limit_s, latch, start
        self._port: int | None = None
        self._pressed = False
        self._client = start(self._limit_s, latch)

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._client.pid

    @property
    def prioritised(self) -> bool:
        """Whether the supervisor has real-time priority."""
        return self._client.prioritised

    # -- the Watchdog protocol ---------------------------------------------------------------------

    def hand_over(self, port: int) -> None:
        """Give the supervisor, and each later replacement, the file descriptor of the port."""
        self._port = port
        with contextlib.suppress(SupervisorLost):  # `trouble` reports it, which prevents arming
            self._client.hand_over(port)

    def take_back(self) -> None:
        """Make the supervisor close its descriptor, before the port is closed."""
        self._port = None
        with contextlib.suppress(SupervisorLost):
            self._client.take_back()

    def watch(self, on: bool) -> None:
        """Switch the check for missing commands on or off."""
        self._client.watch(on)

    def beat(self) -> None:
        """Record that a whole command was written to the port."""
        self._client.beat()

    def trouble(self) -> str:
        """Why the robot must not be commanded now; empty if it may be. Takes microseconds."""
        fired = self._client.fired
        if fired is not Fired.NO:
            return _FIRED[fired]
        return "" if self._client.alive() else "the supervisor process is gone or hangs"

    def fault(self) -> str:
        """The fault code (`safety.faults.matrix`) of what `trouble` reports."""
        fired = self._client.fired
        if fired is Fired.NO:
            return "supervisor_lost"
        return "estop" if fired is Fired.ESTOP else "control_silent"

    # -- arming ------------------------------------------------------------------------------------

    def estop(self) -> str:
        """Why an emergency stop holds and how to end it; empty if none holds."""
        reason = estop_reason(self._latch)
        self._pressed |= bool(reason) or self._client.fired is Fired.ESTOP
        if self._pressed and not reason:
            return "it was pressed while this ran; look why, then start again"
        return reason

    def renew(self) -> bool:
        """Reset a supervisor that fired, or replace a lost one; only while the robot is limp.

        After an emergency stop the supervisor is not reset.

        Returns:
            True if the supervisor had cut the torque for missing commands: then the stop latched on
            the board is its own and may be released.

        Raises:
            SupervisorLost: no new process could be started.
        """
        fired = self._client.fired
        self._pressed |= fired is Fired.ESTOP
        ours = fired in (Fired.SILENT, Fired.GONE)
        self.cuts += ours
        if not self._client.alive():
            self.lost += 1
            self._client.close()
            self._client = self._start(self._limit_s, self._latch)
            if self._port is not None:
                self._client.hand_over(self._port)
        elif ours:
            self._client.reset()
        return ours

    def alive(self) -> bool:
        """Whether the supervisor runs and has not fired."""
        return self.trouble() == ""

    def summary(self) -> dict[str, Any]:
        """Settings and counts for summary.json."""
        return {
            "command_gap_ms": 1e3 * self._limit_s,
            "real_time_priority": self.prioritised,
            "cuts": self.cuts,
            "lost": self.lost,
        }

    def close(self) -> None:
        """End the supervisor without a stop frame; stop the robot first."""
        self._client.close()

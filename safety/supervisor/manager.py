# SPDX-License-Identifier: MIT
"""The supervisor of one robot for as long as it is used: started, asked, replaced when it is gone.

    robot.watchdog = SupervisorManager(limit_s)      # before the first arming
    manager.trouble()                      # every period, by the robot: a flag and a time
    manager.renew()                        # before each arming, limp: a living supervisor again

Without a living supervisor that has not fired there is no arming. An emergency stop stays for as
long as the process lives, also when its latch was cleared meanwhile: clearing starts nothing.
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
    Fired.GONE: "the supervisor cut the torque: it took the control process for gone",
    Fired.ESTOP: "emergency stop",
}


def estop_reason(latch: Path | None = None) -> str:
    """Why the emergency stop holds, and what to do; empty if it does not."""
    found = estop.read(None if latch is None else latch.parent)
    if found is None:
        return ""
    when = f" at {found.wall_time}" if found.wall_time else ""
    return f"pressed{when} by: {found.reason}; look why, then: robot estop --clear"


class SupervisorManager:
    """A `hardware.serial.watchdog.Watchdog` with a supervisor process behind it.

    Args:
        limit_s: longest silence between two commands while they are due.
        latch: of the emergency stop; the user's when None.
        start: starts a supervisor process.

    Attributes:
        cuts: times that it cut the torque because commands stayed away.
        lost: times that the supervisor process was gone, or hung.

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
        """Of the supervisor process."""
        return self._client.pid

    @property
    def prioritised(self) -> bool:
        """Whether the supervisor has real-time priority."""
        return self._client.prioritised

    # -- the Watchdog protocol ---------------------------------------------------------------------

    def hand_over(self, port: int) -> None:
        """Give the supervisor a descriptor of this port; one that comes later gets it too."""
        self._port = port
        with contextlib.suppress(SupervisorLost):  # `trouble` says so, and nothing arms
            self._client.hand_over(port)

    def take_back(self) -> None:
        """The port is about to be closed."""
        self._port = None
        with contextlib.suppress(SupervisorLost):
            self._client.take_back()

    def watch(self, on: bool) -> None:
        """Commands are due from now on; or not any more."""
        self._client.watch(on)

    def beat(self) -> None:
        """A command has been written, all of it."""
        self._client.beat()

    def trouble(self) -> str:
        """Why the robot must not be commanded now; empty if it may be. Microseconds."""
        fired = self._client.fired
        if fired is not Fired.NO:
            return _FIRED[fired]
        return "" if self._client.alive() else "the supervisor process is gone, or hangs"

    def fault(self) -> str:
        """The code of that trouble."""
        fired = self._client.fired
        if fired is Fired.NO:
            return "supervisor_lost"
        return "estop" if fired is Fired.ESTOP else "control_silent"

    # -- arming ------------------------------------------------------------------------------------

    def estop(self) -> str:
        """Why an emergency stop holds, and what to do; empty if none does."""
        reason = estop_reason(self._latch)
        self._pressed |= bool(reason) or self._client.fired is Fired.ESTOP
        if self._pressed and not reason:
            return "it was pressed while this ran; look why, then start again"
        return reason

    def renew(self) -> bool:
        """Have a living supervisor that has not fired, if that may be; for a limp robot only.

        Returns:
            Whether it had cut the torque because commands stayed away, so that the stop that is
            latched on the board is its own.
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
        """Whether a supervisor looks after the robot and has not fired."""
        return self.trouble() == ""

    def summary(self) -> dict[str, Any]:
        """How it did, for summary.json."""
        return {
            "command_gap_ms": 1e3 * self._limit_s,
            "real_time_priority": self.prioritised,
            "cuts": self.cuts,
            "lost": self.lost,
        }

    def close(self) -> None:
        """End the supervisor without a stop; stop the robot before."""
        self._client.close()

# SPDX-License-Identifier: MIT
"""A page of memory between the control process and its supervisor: who did what when.

    control:     session | commands sent | when the last one was | whether it is watched
    supervisor:  why it stopped the robot | when it last looked

Each field is one aligned 8-byte store of one writer, so neither side ever sees half of one. The
memory has no name and ends with the two processes. Times are CLOCK_MONOTONIC, which all processes
share.
"""

from __future__ import annotations

import mmap
import os
import time
from enum import IntEnum

SIZE_BYTES = 64
_COMMANDS, _COMMAND_NS, _WATCHED, _FIRED, _LOOKED_NS, _PRIORITY = range(6)


class Fired(IntEnum):
    """Why the supervisor stopped the robot."""

    NO = 0
    SILENT = 1
    """No command for too long: the control process hangs or is frozen."""
    GONE = 2
    """The control process ended while it was watched."""
    ESTOP = 3
    """Somebody pressed the emergency stop."""


class Heartbeat:
    """One side of it.

    Args:
        descriptor: of the memory; a new one when None.

    Raises:
        OSError: there is no such memory here (Linux has it).
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            if not hasattr(os, "memfd_create"):
                raise OSError("this system has no memfd_create: the supervisor needs Linux")
            descriptor = os.memfd_create("walkhome-heartbeat")
            os.ftruncate(descriptor, SIZE_BYTES)
        self.descriptor = descriptor
        self._fields = memoryview(mmap.mmap(descriptor, SIZE_BYTES)).cast("q")

    # -- control -----------------------------------------------------------------------------------

    def beat(self) -> None:
        """Control: one more command has been written to the port, entirely."""
        fields = self._fields
        fields[_COMMAND_NS] = time.monotonic_ns()
        fields[_COMMANDS] += 1

    def watch(self, on: bool) -> None:
        """Control: from now on commands are due; or not any more."""
        self._fields[_COMMAND_NS] = time.monotonic_ns()
        self._fields[_WATCHED] = int(on)

    @property
    def fired(self) -> Fired:
        """Control: why the supervisor stopped the robot."""
        return Fired(self._fields[_FIRED])

    def looked_ago_s(self) -> float:
        """Control: since the supervisor looked last."""
        return (time.monotonic_ns() - self._fields[_LOOKED_NS]) * 1e-9

    @property
    def prioritised(self) -> bool:
        """Control: whether the supervisor has real-time priority."""
        return bool(self._fields[_PRIORITY])

    # -- supervisor --------------------------------------------------------------------------------

    @property
    def commands(self) -> int:
        """Supervisor: commands so far."""
        return self._fields[_COMMANDS]

    @property
    def command_ns(self) -> int:
        """Supervisor: when the last one was, or when watching began."""
        return self._fields[_COMMAND_NS]

    @property
    def watched(self) -> bool:
        """Supervisor: whether commands are due."""
        return bool(self._fields[_WATCHED])

    def look(self) -> None:
        """Supervisor: say that it is there."""
        self._fields[_LOOKED_NS] = time.monotonic_ns()

    def set_prioritised(self, on: bool) -> None:
        """Supervisor: say whether it has real-time priority."""
        self._fields[_PRIORITY] = int(on)

    def fire(self, why: Fired) -> None:
        """Supervisor: say that it stopped the robot, and why (`Fired.NO`: that this is over)."""
        self._fields[_FIRED] = int(why)

# SPDX-License-Identifier: MIT
"""Shared memory between the control process and its supervisor.

    control writes:     number of commands | time of the last one | whether commands are due
    supervisor writes:  why it stopped the robot | its last sign of life | its priority

Each field has one writer and is one aligned 8-byte store, so no reader sees a torn value. The
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
    """No command came for too long: the control process hangs or is frozen."""
    GONE = 2
    """The control process ended while commands were due."""
    ESTOP = 3
    """The emergency stop was pressed."""


class Heartbeat:
    """One process's view of the shared memory.

    Args:
        descriptor: file descriptor of the memory; None creates it.

    Attributes:
        descriptor: file descriptor of the memory, for the other process.

    Raises:
        OSError: the system has no memfd_create (Linux has it).
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
        """Control: record that a whole command was written to the port."""
        fields = self._fields
        fields[_COMMAND_NS] = time.monotonic_ns()
        fields[_COMMANDS] += 1

    def watch(self, on: bool) -> None:
        """Control: set whether commands are due; the time of silence starts anew."""
        self._fields[_COMMAND_NS] = time.monotonic_ns()
        self._fields[_WATCHED] = int(on)

    @property
    def fired(self) -> Fired:
        """Control: why the supervisor stopped the robot."""
        return Fired(self._fields[_FIRED])

    def looked_ago_s(self) -> float:
        """Control: seconds since the supervisor's last sign of life."""
        return (time.monotonic_ns() - self._fields[_LOOKED_NS]) * 1e-9

    @property
    def prioritised(self) -> bool:
        """Control: whether the supervisor has real-time priority."""
        return bool(self._fields[_PRIORITY])

    # -- supervisor --------------------------------------------------------------------------------

    @property
    def commands(self) -> int:
        """Supervisor: number of commands written so far."""
        return self._fields[_COMMANDS]

    @property
    def command_ns(self) -> int:
        """Supervisor: monotonic time of the last command, or of the last call of `watch`."""
        return self._fields[_COMMAND_NS]

    @property
    def watched(self) -> bool:
        """Supervisor: whether commands are due."""
        return bool(self._fields[_WATCHED])

    def look(self) -> None:
        """Supervisor: give a sign of life."""
        self._fields[_LOOKED_NS] = time.monotonic_ns()

    def set_prioritised(self, on: bool) -> None:
        """Supervisor: publish whether it has real-time priority."""
        self._fields[_PRIORITY] = int(on)

    def fire(self, why: Fired) -> None:
        """Supervisor: publish why it stopped the robot; `Fired.NO` after a reset."""
        self._fields[_FIRED] = int(why)

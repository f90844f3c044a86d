# SPDX-License-Identifier: MIT
"""The right to command a robot: one process at a time on this machine, by a lock file per robot."""

from __future__ import annotations

import re
from pathlib import Path

from walkhome.hardware.robot import RobotError
from walkhome.named_lock import LockHeld, NamedLock
from walkhome.user_folders import FolderNotOurs
from walkhome.user_folders import runtime_folder as user_runtime_folder


class LeaseTaken(RobotError):  # noqa: N818 - says what happened
    """Another process commands the robot."""


class Lease:
    """The right to command one robot; `take` gets it, `release` gives it back.

    Attributes:
        path: the lock file.
        stale: name of a process that held it and was killed; empty if there is none.
    """

    def __init__(self, lock: NamedLock) -> None:
        self._lock = lock
        self.path, self.stale = lock.path, lock.stale

    @classmethod
    def take(cls, robot_id: str, purpose: str, folder: Path | None = None) -> Lease:
        """Take the right to command a robot.

        Args:
            robot_id: the robot's name, as its board reports it.
            purpose: what this process does, for the message of those who find it taken.
            folder: folder of the lock files; `runtime_folder()` when None.

        Raises:
            LeaseTaken: another process commands the robot; the message names it.
            OSError: the lock file can't be written.
        """
        folder = runtime_folder() if folder is None else folder
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", robot_id) or "unnamed"
        lock = NamedLock(folder / f"lease-{name}.lock")
        try:
            lock.acquire(purpose)
        except LockHeld as held:
            raise LeaseTaken(
                f"robot {robot_id!r} is commanded by {held.holder}; end that first ({lock.path})"
            ) from None
        return cls(lock)

    def release(self) -> None:
        """Let other processes command the robot; safe to call twice."""
        self._lock.release()


def runtime_folder() -> Path:
    """The folder of locks and sockets; see `walkhome.user_folders.runtime_folder`.

    Raises:
        RobotError: another user's folder is in its place.
        OSError: it can't be made.
    """
    try:
        return user_runtime_folder()
    except FolderNotOurs as error:
        raise RobotError(str(error)) from None

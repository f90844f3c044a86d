# SPDX-License-Identifier: MIT
"""A file lock that says who holds it.

The lock itself is `filelock`'s: the kernel holds it and releases it when the process ends, however
it ends. The holder's name is in a file beside it; a name without a lock is stale.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout


class LockHeld(Exception):  # noqa: N818 - says what happened
    """Another process holds the lock.

    Attributes:
        holder: its name, as it wrote it.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


class NamedLock:
    """An exclusive lock between processes.

    Args:
        path: the lock file; `<path>.holder` names the process that holds it.

    Attributes:
        path: as given.
        stale: name of a holder that ended without releasing; empty if there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.stale = path, ""
        self._holder = path.with_name(f"{path.name}.holder")
        self._lock = FileLock(path, timeout=0, thread_local=False)

    def acquire(self, purpose: str) -> None:
        """Take the lock at once, or fail.

        Args:
            purpose: what this process does, for the message of those who find it taken.

        Raises:
            LockHeld: another process holds it.
            OSError: a file can't be written.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise LockHeld(self._name() or "another process") from None
        try:
            self.stale = self._name()
            self._holder.write_text(f"process {os.getpid()} ({purpose})", encoding="utf-8")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # the folder may be gone
                self._holder.unlink(missing_ok=True)
            self._lock.release()

    def _name(self) -> str:
        try:
            return self._holder.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

# SPDX-License-Identifier: MIT
"""One source commands a robot at a time, on this machine: a lock file per robot.

The lock is the kernel's, so it goes with the process that held it, however that ends; the file only
says who it was. A name in a file that nobody has locked is stale, and is taken over.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import IO

from walkhome.hardware.robot import RobotError


class LeaseTaken(RobotError):  # noqa: N818 - says what happened
    """Another process commands the robot."""


class Lease:
    """The right to command one robot; `take` gets it, `release` gives it back.

    Attributes:
        path: the lock file.
        stale: who had it and died with it; empty if nobody did.
    """

    def __init__(self, path: Path, stream: IO[str], stale: str) -> None:
        self.path, self.stale = path, stale
        self._stream: IO[str] | None = stream

    @classmethod
    def take(cls, robot_id: str, who: str, folder: Path | None = None) -> Lease:
        """Become the one who commands.

        Args:
            robot_id: of the robot, as its board says.
            who: what this process is, for people.
            folder: of the lock files; `runtime_folder()` when None.

        Raises:
            LeaseTaken: another process does, with its number.
            OSError: the lock file can't be written.
        """
        folder = runtime_folder() if folder is None else folder
        path = folder / f"lease-{re.sub(r'[^A-Za-z0-9_.-]', '_', robot_id) or 'unnamed'}.lock"
        stream = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            stream.close()
            raise LeaseTaken(
                f"robot {robot_id!r} is commanded by {holder}; end that first ({path})"
            ) from None
        stream.seek(0)
        stale = stream.read().strip()
        stream.truncate(0)
        stream.write(f"process {os.getpid()} ({who})")
        stream.flush()
        return cls(path, stream, stale)

    def release(self) -> None:
        """Let others command; safe to call twice."""
        if self._stream is not None:
            self._stream.truncate(0)
            self._stream.close()
            self._stream = None


def runtime_folder() -> Path:
    """Where this user's processes meet: locks and sockets; made private if it is not there.

    Raises:
        RobotError: somebody else's folder is in its place.
        OSError: it can't be made.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        folder = Path(base) / "walkhome"
    else:
        folder = Path(tempfile.gettempdir()) / f"walkhome-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise RobotError(f"{folder}: belongs to somebody else; remove it")
    return folder

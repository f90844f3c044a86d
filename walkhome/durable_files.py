# SPDX-License-Identifier: MIT
"""Files and folders that survive a crash or a power cut.

    write_atomically: temporary file --> fsync --> rename --> fsync of the folder

After each function returns, what it wrote is on the disk. A reader, and a machine that starts
again after a power cut, sees the old content or the new content, never a part of it.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write a folder's own entries (new names, renames, removals) to the disk.

    A new or renamed file can be lost in a power cut until its folder is synced (fsync(2), NOTES).

    Raises:
        OSError: The folder is missing, or the disk reports an error.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_file(path: Path, data: bytes) -> None:
    """Write a new file and sync its content, but not its folder: see `sync_folder`.

    Raises:
        FileExistsError: There is a file at `path` already.
        OSError: The disk is full or reports an error.
    """
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Create a file or replace its content in one step.

    Raises:
        OSError: The disk is full or reports an error; the old file is intact.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)  # of a process with the same id that was killed in the middle
    try:
        create_file(draft, data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)

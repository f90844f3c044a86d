# SPDX-License-Identifier: MIT
"""The emergency stop: pressed from anywhere, latched on the disk, cleared by a person only.

A file in the user's state folder is the latch: it outlives every process and every restart. What
can't be read counts as pressed. Clearing it permits a start, and causes none (ISO 13850). This is
software: a robot that can hurt needs a switch that takes its power, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from walkhome.durable_files import sync_folder
from walkhome.user_folders import state_folder

NAME = "estop.json"


@dataclass(frozen=True)
class Latch:
    """Who pressed it.

    Attributes:
        reason: in a few words.
        process: id of the process that did.
        wall_time: UTC, for people.
    """

    reason: str
    process: int
    wall_time: str


def latch_path(folder: Path | None = None) -> Path:
    """Where the latch is."""
    return (folder or state_folder()) / NAME


def press(reason: str, folder: Path | None = None) -> Path:
    """Latch it, on the disk when this returns; who pressed first stays.

    Returns:
        The latch.

    Raises:
        OSError: it can't be written; stop the robot by other means.
    """
    path = latch_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    data = json.dumps(asdict(Latch(reason, os.getpid(), now))).encode()
    draft = path.with_name(f".{NAME}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, data)
        # Supervisors see it from here on; the disk may take its time.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # fails if it is latched already
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    sync_folder(path.parent)
    return path


def pressed(path: Path) -> bool:
    """Whether it is latched; microseconds. Whatever but a missing file counts as pressed."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read(folder: Path | None = None) -> Latch | None:
    """Who pressed it; None if nobody did."""
    path = latch_path(folder)
    if not pressed(path):
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Latch(str(value["reason"]), int(value["process"]), str(value["wall_time"]))
    except FileNotFoundError:
        return None  # cleared a moment ago
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Latch(f"the latch {path} can't be read ({error}); that counts as pressed", 0, "")


def clear(folder: Path | None = None) -> Latch | None:
    """A person clears it; who had pressed it, None if nobody had.

    Raises:
        OSError: it can't be removed; it stays pressed.
    """
    latch = read(folder)
    if latch is not None:
        path = latch_path(folder)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    return latch

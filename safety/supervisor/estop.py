# SPDX-License-Identifier: MIT
"""The emergency stop: any process can press it; only a person clears it.

The latch is a file in the user's state folder, so it survives processes and restarts. A latch that
can't be read counts as pressed. Clearing it permits a start and causes none (ISO 13850). This is
software: a robot that can hurt people also needs a switch that cuts its power.
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
    """The record of one press.

    Attributes:
        reason: why it was pressed, in a few words.
        process: id of the process that pressed it.
        wall_time: UTC in ISO 8601, for display.
    """

    reason: str
    process: int
    wall_time: str


def latch_path(folder: Path | None = None) -> Path:
    """Path of the latch; in `user_folders.state_folder()` if `folder` is None."""
    return (folder or state_folder()) / NAME


def press(reason: str, folder: Path | None = None) -> Path:
    """Press the emergency stop; the latch is on the disk when this returns.

    An existing latch stays as it is, with the record of the first press.

    Args:
        reason: why, in a few words.
        folder: folder of the latch, see `latch_path`.

    Returns:
        Path of the latch.

    Raises:
        OSError: the latch can't be written; stop the robot by other means.
    """
    path = latch_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    data = json.dumps(asdict(Latch(reason, os.getpid(), now))).encode()
    draft = path.with_name(f".{NAME}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, data)
        # Link first: supervisors see the latch at once, and do not wait for the disk.
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
    """Whether the latch exists; takes microseconds. An error other than a missing file counts."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read(folder: Path | None = None) -> Latch | None:
    """The record of the press; None if the emergency stop is not pressed."""
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
    """Remove the latch, for a person only; see `read` for what it returns.

    Raises:
        OSError: the latch can't be removed and stays pressed.
    """
    latch = read(folder)
    if latch is not None:
        path = latch_path(folder)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    return latch

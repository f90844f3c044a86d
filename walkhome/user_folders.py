# SPDX-License-Identifier: MIT
"""The user's folders, by the XDG base directory specification (`platformdirs`)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

APP = "walkhome"


class FolderNotOurs(OSError):  # noqa: N818 - says what is wrong
    """A folder in a place that others can write to belongs to another user."""


def config_folder() -> Path:
    """Calibrations and other files that a person may edit: $XDG_CONFIG_HOME/walkhome."""
    return platformdirs.user_config_path(APP)


def state_folder() -> Path:
    """What must outlive a run, as the emergency stop's latch: $XDG_STATE_HOME/walkhome.

    A relative path in the variable counts as unset, as the specification says: the latch must not
    depend on the folder that a command is started in.
    """
    folder = platformdirs.user_state_path(APP)
    return folder if folder.is_absolute() else Path.home() / ".local" / "state" / APP


def cache_folder() -> Path:
    """What can be made again, as compiled code: $XDG_CACHE_HOME/walkhome."""
    return platformdirs.user_cache_path(APP)


def runtime_folder() -> Path:
    """Locks and sockets of this user's processes; made, and private.

    $XDG_RUNTIME_DIR/walkhome where that is a folder, else a folder of the user's own in the
    temporary folder. platformdirs refuses or repairs a runtime folder with other permissions, and a
    container often has none: a robot must be usable there too.

    Raises:
        FolderNotOurs: another user's folder is in its place.
        OSError: it can't be made.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        folder = Path(base) / APP
    else:
        folder = Path(tempfile.gettempdir()) / f"{APP}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise FolderNotOurs(f"{folder}: belongs to another user; remove it")
    return folder

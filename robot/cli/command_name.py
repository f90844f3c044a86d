# SPDX-License-Identifier: MIT
"""Detects that the command `robot` is not ours, and says which command to type instead.

Robot Framework (distribution `robotframework`) also installs a command `robot`. pip lets the
distribution that is installed last overwrite the file, and removes it with either of them. The
command `walkhome` is always ours.
"""

from __future__ import annotations

import shutil
from importlib.metadata import entry_points
from pathlib import Path

OURS = b"walkhome"
"""Text in every start script of ours: it imports `walkhome.robot.cli`."""


def note_on_command(typed: str) -> str:
    """One line for the user if `robot` does not start this program; empty if all is well.

    Args:
        typed: the path or name by which this program was started, `sys.argv[0]`.
    """
    if Path(typed).name == "robot":  # then `robot` is ours
        return ""
    found = shutil.which("robot")
    if found is None:
        if shutil.which("walkhome") is None:  # a virtual environment that is not on PATH
            return ""
        return "note: there is no command `robot` here; where a text says `robot`, type `walkhome`"
    if OURS in _start_of(Path(found)):
        return ""
    owner = f" ({names})" if (names := ", ".join(_other_owners())) else ""
    return (
        f"note: the command `robot` ({found}) belongs to another program{owner}; where a text says "
        "`robot`, type `walkhome`"
    )


def _start_of(script: Path) -> bytes:
    try:
        with script.open("rb") as stream:
            return stream.read(4096)
    except OSError:
        return b""


def _other_owners() -> list[str]:
    """Names and versions of other installed distributions that declare a command `robot`."""
    declared = entry_points(group="console_scripts", name="robot")
    dists = [entry.dist for entry in declared if entry.dist is not None]
    return sorted({f"{dist.name} {dist.version}" for dist in dists if dist.name != "walkhome"})

# SPDX-License-Identifier: MIT
"""Orders from a script: `forward 3s, left 2s, stop 1s`, or the same in a file, one a line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from walkhome.robot.teleop.driver_input import DriverInput, TeleopError

STOP, SETTLE = "stop", "settle"
LONGEST_S = 24 * 3600.0
_PART = re.compile(r"(?P<what>[a-z_]+)\s+(?P<seconds>[0-9]*\.?[0-9]+)\s*s")


@dataclass(frozen=True)
class Part:
    """One line of a script: a task, `stop` (stand) or `settle` (sit down), and how long."""

    what: str
    seconds: float


def parse_script(text: str, tasks: Sequence[str]) -> list[Part]:
    """The parts of a script.

    Args:
        text: parts with commas or newlines between them; `#` starts a comment.
        tasks: that were learned.

    Raises:
        TeleopError: a part that nobody understands, or a task that was not learned.
    """
    lines = [line.partition("#")[0] for line in text.splitlines()]
    pieces = [piece.strip() for line in lines for piece in line.split(",")]
    parts = [_part(piece, tasks) for piece in pieces if piece]
    if not parts:
        raise TeleopError('--script: it is empty; write it as "forward 3s, left 2s, stop 1s"')
    return parts


def _part(piece: str, tasks: Sequence[str]) -> Part:
    match = _PART.fullmatch(piece)
    if match is None:
        raise TeleopError(f"--script: {piece!r} is not understood; write it as forward 3s")
    what, seconds = match["what"], float(match["seconds"])
    if what not in (*tasks, STOP, SETTLE):
        raise TeleopError(
            f"--script: {what!r} was not learned in this run; there are {', '.join(tasks)}, "
            f"{STOP} (stands) and {SETTLE} (sits down)"
        )
    if not (math.isfinite(seconds) and 0.0 < seconds <= LONGEST_S):
        raise TeleopError(f"--script: {piece!r}: write seconds above 0, at most {LONGEST_S:g}")
    return Part(what, seconds)


def read_script(text_or_file: str) -> str:
    """A script as it was typed, or what the file of that name holds.

    Raises:
        TeleopError: the file can't be read.
    """
    path = Path(text_or_file)
    looks_typed = _PART.search(text_or_file) is not None
    if looks_typed and not _is_file(path):
        return text_or_file
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise TeleopError(
            f'--script {text_or_file}: {why}; write "forward 3s, left 2s" or name a text file'
        ) from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a long script is too long for a name
        return False


class ScriptSource:
    """Plays a script in robot time; stand-ups do not count.

    Args:
        parts: of the script.
        scale: share of the learned stride.
    """

    attended = False

    def __init__(self, parts: Sequence[Part], scale: float = 1.0) -> None:
        self._parts, self._scale = list(parts), scale
        self._ends_s = [
            sum(part.seconds for part in self._parts[: i + 1]) for i in range(len(self._parts))
        ]

    def poll(self, driven_s: float) -> DriverInput:
        """The order at this time of the script."""
        for part, end_s in zip(self._parts, self._ends_s, strict=True):
            if driven_s < end_s - 1e-9:
                task = None if part.what in (STOP, SETTLE) else part.what
                left = f"{part.what}, {end_s - driven_s:.1f} s left"
                return DriverInput(task, held=part.what != SETTLE, scale=self._scale, note=left)
        return DriverInput(ended=True, note="the script is over")

    def close(self) -> None:
        """Nothing to give back."""

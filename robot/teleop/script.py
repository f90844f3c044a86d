# SPDX-License-Identifier: MIT
"""Driver input from a script: `forward 3s, left 2s, stop 1s`, or a file with a step per line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from walkhome.robot.teleop.driver_input import DriverInput, TeleopError

STOP, SETTLE = "stop", "settle"
LONGEST_S = 24 * 3600.0
_STEP = re.compile(r"(?P<task>[a-z_]+)\s+(?P<seconds>[0-9]*\.?[0-9]+)\s*s")


@dataclass(frozen=True)
class ScriptStep:
    """One step of a script.

    Attributes:
        task: a task name, `stop` (stand) or `settle` (sit down).
        seconds: how long, in robot time without stand-ups.
    """

    task: str
    seconds: float


def parse_script(text: str, tasks: Sequence[str]) -> list[ScriptStep]:
    """Parse a script into its steps.

    Args:
        text: steps such as `forward 3s`, separated by commas or newlines; `#` starts a comment.
        tasks: the tasks that were learned.

    Raises:
        TeleopError: the script is empty, a step can't be parsed, or its task was not learned.
    """
    lines = [line.partition("#")[0] for line in text.splitlines()]
    pieces = [piece.strip() for line in lines for piece in line.split(",")]
    steps = [_parse_step(piece, tasks) for piece in pieces if piece]
    if not steps:
        raise TeleopError('--script: it is empty; write it as "forward 3s, left 2s, stop 1s"')
    return steps


def _parse_step(piece: str, tasks: Sequence[str]) -> ScriptStep:
    match = _STEP.fullmatch(piece)
    if match is None:
        raise TeleopError(f"--script: {piece!r} is not understood; write it as forward 3s")
    task, seconds = match["task"], float(match["seconds"])
    if task not in (*tasks, STOP, SETTLE):
        raise TeleopError(
            f"--script: {task!r} was not learned in this run; there are {', '.join(tasks)}, "
            f"{STOP} (stands) and {SETTLE} (sits down)"
        )
    if not (math.isfinite(seconds) and 0.0 < seconds <= LONGEST_S):
        raise TeleopError(f"--script: {piece!r}: write seconds above 0, at most {LONGEST_S:g}")
    return ScriptStep(task, seconds)


def read_script(text_or_file: str) -> str:
    """Return the script itself, or the content of the file with that name.

    Args:
        text_or_file: a script, or the name of a text file that holds one.

    Raises:
        TeleopError: it is no script and no file that can be read as text.
    """
    path = Path(text_or_file)
    looks_typed = _STEP.search(text_or_file) is not None
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
    except OSError:  # a long script exceeds the length of a file name
        return False


class ScriptSource:
    """Plays a script in robot time, stand-ups left out; see `InputSource`.

    Args:
        steps: the steps of the script.
        scale: share of the learned stride, in (0, 1].

    Attributes:
        attended: False: no person can press the dead-man again.
    """

    attended = False

    def __init__(self, steps: Sequence[ScriptStep], scale: float = 1.0) -> None:
        self._steps, self._scale = list(steps), scale
        self._ends_s = [
            sum(step.seconds for step in self._steps[: i + 1]) for i in range(len(self._steps))
        ]

    def poll(self, driven_s: float) -> DriverInput:
        """Return the input at time `driven_s` (s) of the script."""
        for step, end_s in zip(self._steps, self._ends_s, strict=True):
            if driven_s < end_s - 1e-9:
                task = None if step.task in (STOP, SETTLE) else step.task
                left = f"{step.task}, {end_s - driven_s:.1f} s left"
                return DriverInput(task, held=step.task != SETTLE, scale=self._scale, note=left)
        return DriverInput(ended=True, note="the script is over")

    def close(self) -> None:
        """Do nothing: a script holds no resource."""

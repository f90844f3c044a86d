# SPDX-License-Identifier: MIT
"""Views of a run in progress: a live screen on a terminal, plain or JSON lines otherwise.

The trainer passes a `RunStatus` several times a second; a view only shows it. If a view cannot be
shown any more (the terminal was closed, the pipe has no reader), it goes silent and learning
continues. Only the live screen loads rich.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from walkhome.robot.monitor.status import RunStatus, format_duration, format_task_speed

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class View(Protocol):
    """Shows the status and the messages of a run."""

    def update(self, status: RunStatus) -> None:
        """Show a status; returns at once if the last refresh was too recent."""
        ...

    def message(self, text: str) -> None:
        """Print one line that stays on the terminal."""
        ...

    def close(self) -> None:
        """Show the last status and restore the terminal."""
        ...


class PlainView:
    """Prints one line every few robot seconds: text, or JSON objects for programs.

    Args:
        stream: stream to print to; None: standard output.
        every_s: robot seconds between lines.
        as_json: print statuses and messages as one JSON object per line.
    """

    def __init__(
        self, stream: TextIO | None = None, *, every_s: float = 10.0, as_json: bool = False
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._every_s = every_s
        self._as_json = as_json
        self._next_s = 0.0
        self._newest: RunStatus | None = None
        self._shown: RunStatus | None = None

    def update(self, status: RunStatus) -> None:
        """Print a line if `every_s` robot seconds have passed since the last one."""
        self._newest = status
        robot_s = status.robot_minutes_total * 60.0
        if robot_s >= self._next_s:
            # The next multiple of the interval: a long stand-up does not shift later lines.
            self._next_s = (math.floor(robot_s / self._every_s) + 1) * self._every_s
            self._print(status)

    def message(self, text: str) -> None:
        """Print a message as one line."""
        self._say(json.dumps({"event": "message", "text": text}) if self._as_json else text)

    def close(self) -> None:
        """Print the last status, unless it has been printed."""
        if self._newest is not None and self._newest is not self._shown:
            self._print(self._newest)

    def _print(self, status: RunStatus) -> None:
        self._shown = status
        self._say(_json_line(status) if self._as_json else format_status_line(status))

    def _say(self, line: str) -> None:
        try:
            print(_writable(line, self._stream.encoding), file=self._stream, flush=True)
        except (OSError, ValueError):  # no reader any more, or a closed file
            self._say = _say_nothing  # type: ignore[method-assign]


class LiveView:
    """A live screen that is redrawn in place; construction takes over the terminal.

    Args:
        console: rich console to draw on; None: standard output.
        every_s: shortest wall time between two refreshes, s.
    """

    def __init__(self, console: Console | None = None, *, every_s: float = 0.25) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console()
        # No refresh thread of rich's: it would compete with the control loop for time.
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._every_s = every_s
        self._next_s = 0.0
        self._newest: RunStatus | None = None
        self._trail: deque[tuple[float, float]] = deque(maxlen=400)
        self._open = True
        self._live.start()

    def update(self, status: RunStatus) -> None:
        """Redraw the screen if `every_s` seconds have passed since the last refresh."""
        self._newest = status
        if not self._trail or math.dist(self._trail[-1], status.pose[:2]) > 0.05:
            self._trail.append(status.pose[:2])
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self._refresh()

    def message(self, text: str) -> None:
        """Print a line above the screen."""
        text = _writable(text, self._console.encoding)
        try:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        except OSError:
            self._open = False

    def close(self) -> None:
        """Show the last status and release the terminal; a second call does nothing."""
        self._refresh()
        self._open = False
        with contextlib.suppress(OSError):  # the terminal was closed
            self._live.stop()

    def _refresh(self) -> None:
        if not self._open or self._newest is None:
            return
        try:
            self._live.update(self._render(self._newest), refresh=True)
        except OSError:  # the terminal was closed
            self._open = False

    def _render(self, status: RunStatus) -> RenderableType:
        from walkhome.robot.monitor.screen import screen

        return screen(status, self._trail, self._console)


def make_view(*, as_json: bool = False) -> View:
    """Return a live screen if standard output is a terminal, else a view that prints lines.

    Args:
        as_json: print JSON lines, also on a terminal.
    """
    if as_json or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainView(as_json=as_json)
    return LiveView()


def format_status_line(status: RunStatus) -> str:
    """Format a status as one line."""
    tasks = "  ".join(
        f"{name} {format_task_speed(name, task)} ({task.episodes} ep, {task.falls} falls)"
        for name, task in status.tasks.items()
    )
    board = f"  {status.board.line()}" if status.board is not None else ""
    return (
        f"{status.robot_minutes_total:6.2f}/{status.minutes_budget:g} min  "
        f"{status.phase:9s} {tasks}  falls {status.falls}  exits {status.exits}  "
        f"stand-ups {status.stand_ups_tried}  wall {format_duration(status.wall_s)}{board}"
    )


def _json_line(status: RunStatus) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({"event": "progress", **plain(asdict(status))}, allow_nan=False)


def _writable(text: str, encoding: str | None) -> str:
    # A message may contain characters that the terminal's encoding lacks; escape them.
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _say_nothing(line: str) -> None:
    pass

# SPDX-License-Identifier: MIT
"""The driver's screen: a status line that is redrawn, and one lasting line per event.

Output to a terminal never blocks the control thread: text is dropped while the terminal does not
accept it, and after it was closed.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from walkhome.robot.teleop.telemetry import DrivePeriod, DriveState

EVERY_S = 0.1
_CLEAR = "\r\x1b[K"


@dataclass(frozen=True)
class SourceInfo:
    """An input source for the status line: a pad's name and charge; empty without a pad."""

    name: str = ""
    battery: str = ""


class Screen:
    """Shows control periods and events; see `telemetry.Listeners`.

    Args:
        source: returns name and battery of the input source; called once a second.
        as_json: write events as JSON objects, one per line, and nothing else.
        stream: where to write; None: standard output.
        clock: monotonic time, s.
    """

    def __init__(
        self,
        source: Callable[[], SourceInfo],
        as_json: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._source, self._as_json, self._clock = source, as_json, clock
        self._live = not as_json and self._stream.isatty()
        self._next_s = self._named_s = -1e9
        self._source_info = SourceInfo()
        self._gone = False

    def period(self, period: DrivePeriod) -> None:
        """Redraw the status line, at most every `EVERY_S`."""
        now_s = self._clock()
        if not self._live or now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        if now_s - self._named_s >= 1.0:
            self._named_s, self._source_info = now_s, self._source()
        self._put(_CLEAR + status_line(period, self._source_info, self._columns()))

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Write one line for an event of the kinds in `event_line`."""
        if self._as_json:
            self._put(json.dumps({"event": kind, **fields}) + "\n")
        else:
            clear = _CLEAR if self._live else ""
            self._put(f"{clear}{event_line(kind, fields)}\n")

    def say(self, text: str) -> None:
        """Write one line for people; does nothing with `as_json`."""
        if not self._as_json:
            self._put((_CLEAR if self._live else "") + text + "\n")

    def close(self) -> None:
        """Clear the status line; safe to call twice."""
        if self._live:
            self._put(_CLEAR)
            self._live = False

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80  # 0: unknown
        except OSError:
            return 80

    def _put(self, text: str) -> None:
        if self._gone:
            return
        try:
            if not self._live:
                self._stream.write(text)
                self._stream.flush()
            elif select.select([], [self._stream], [], 0.0)[1]:
                # Unbuffered: text for a closed terminal would stay in the buffer until the exit,
                # and fail there. A halted terminal (Ctrl-S) gets nothing and does not block.
                os.write(self._stream.fileno(), text.encode(errors="replace"))
        except (OSError, ValueError):
            self._gone = True


def status_line(period: DrivePeriod, source: SourceInfo, columns: int = 80) -> str:
    """Format a control period as one line, cut off to fit `columns` characters."""
    driver_input = period.input
    held = "[DRIVE]" if driver_input.held else "[  -  ]"
    driving = period.drive_state is DriveState.DRIVING
    doing = period.gait if driving else period.drive_state.value
    # The least important part is last: it is cut off first.
    parts = [held, f"{doing:<11}", source.battery and f"battery {source.battery}"]
    parts += [driver_input.note, f"stride {driver_input.scale:.0%}"]
    parts += [f"falls {period.statistics.falls}", source.name]
    return "  ".join(part for part in parts if part)[: max(10, columns - 1)]


def event_line(kind: str, fields: Mapping[str, Any]) -> str:
    """Format an event as one line, robot time (s) first.

    Args:
        kind: `switch`, `fall`, `settle`, `cut`, `stand_up`, `stands`, `fault` or `board`; another
            kind is written as it is.
        fields: values of the event; `robot_s` is its time.
    """
    at = f"{fields.get('robot_s', 0.0):7.1f} s  "
    words = {
        "switch": "{from} -> {to}",
        "fall": "fell while doing: {doing}",
        "settle": "settles: {why}",
        "cut": "torque cut: {why}",
        "stand_up": "stands up",
        "stands": "stands",
        "fault": "settles: {why}",
        "board": "{text}",
    }
    return at + words.get(kind, kind).format_map(fields)

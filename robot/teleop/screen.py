# SPDX-License-Identifier: MIT
"""What the driver sees: one line that renews itself, and a line that stays for every event.

Never in the way of the robot: a terminal that takes nothing now is not waited for, and one that is
gone is forgotten.
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
    """What a driver wants to know of a source: a pad's name and battery; empty without one."""

    name: str = ""
    battery: str = ""


class Screen:
    """Shows moments and events.

    Args:
        source: what to say of the source, in the line; asked once a second, for its battery.
        as_json: events as JSON objects, one a line, and nothing else.
        stream: where to; standard output when None.
        clock: monotonic seconds.
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
        self._facts = SourceInfo()
        self._gone = False

    def period(self, moment: DrivePeriod) -> None:
        """Renew the line when it is time to."""
        now_s = self._clock()
        if not self._live or now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        if now_s - self._named_s >= 1.0:
            self._named_s, self._facts = now_s, self._source()
        self._put(_CLEAR + status_line(moment, self._facts, self._columns()))

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Say what changed."""
        if self._as_json:
            self._put(json.dumps({"event": kind, **fields}) + "\n")
        else:
            clear = _CLEAR if self._live else ""
            self._put(f"{clear}{event_line(kind, fields)}\n")

    def say(self, text: str) -> None:
        """One line for people; nothing when programs read."""
        if not self._as_json:
            self._put((_CLEAR if self._live else "") + text + "\n")

    def close(self) -> None:
        """Take the line away that renews itself; safe to call twice."""
        if self._live:
            self._put(_CLEAR)
            self._live = False

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80  # 0: it does not know
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
                # Past the buffer, in which text for a lost terminal would stay until the exit. A
                # terminal that was halted (Ctrl-S) gets nothing, and does not halt the robot.
                os.write(self._stream.fileno(), text.encode(errors="replace"))
        except (OSError, ValueError):
            self._gone = True


def status_line(moment: DrivePeriod, source: SourceInfo, columns: int = 80) -> str:
    """The moment in one line that fits."""
    order, tally = moment.input, moment.statistics
    held = "[DRIVE]" if order.held else "[  -  ]"
    doing = moment.gait if moment.drive_state is DriveState.DRIVING else moment.drive_state.value
    # Where there is no room for all of it, what matters least is at the end.
    parts = [held, f"{doing:<11}", source.battery and f"battery {source.battery}", order.note]
    parts += [f"stride {order.scale:.0%}", f"falls {tally.falls}", source.name]
    return "  ".join(part for part in parts if part)[: max(10, columns - 1)]


def event_line(kind: str, fields: Mapping[str, Any]) -> str:
    """An event in words."""
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

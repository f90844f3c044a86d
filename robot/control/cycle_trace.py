# SPDX-License-Identifier: MIT
"""A trace of what the control thread does when, to explain a silence that cut the torque.

A ring of marks, each the beginning of an activity ("behaviour", "command", "wait"), with wall time
and the thread's own processor time. An activity that took long on the wall and little processor
time was waiting: for the interpreter lock, a disk, a page or a processor. Other threads add notes.
A mark costs a microsecond, and memory does not grow.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from typing import Any

SIZE = 4096
"""Marks in the ring; with ten per period these are eight seconds at 50 Hz."""
NOTES = 64
STORY_S = 0.15
SHORT_MS = 1.0
"""Activities shorter than this are left out of a story."""
KEPT = 5


class CycleTrace:
    """The marks of one control thread.

    Attributes:
        worst: the longest silences between two commands, longest first; at most `KEPT`.
    """

    def __init__(self) -> None:
        self.worst: list[dict[str, Any]] = []
        self._what = [""] * SIZE
        self._wall_ns = array("q", bytes(8 * SIZE))
        self._own_ns = array("q", bytes(8 * SIZE))
        self._count = 0
        self._notes: deque[tuple[int, str]] = deque(maxlen=NOTES)
        self._sent_ns = 0

    def mark(self, what: str) -> None:
        """Note that the control thread begins an activity."""
        slot = self._count % SIZE
        self._what[slot] = what
        self._wall_ns[slot] = time.monotonic_ns()
        self._own_ns[slot] = time.thread_time_ns()
        self._count += 1

    def note(self, text: str) -> None:
        """Note that another thread begins or ends an activity."""
        self._notes.append((time.monotonic_ns(), text))

    def sent(self, what: str = "wait") -> None:
        """Note that a command has gone out; the control thread begins the activity `what`."""
        self.mark(what)
        now_ns = self._wall_ns[(self._count - 1) % SIZE]
        silent_ns, self._sent_ns = now_ns - self._sent_ns, now_ns
        if silent_ns < now_ns and self._is_long(silent_ns * 1e-6):
            self._keep({"ms": silent_ns * 1e-6, "where": self.story(silent_ns * 1e-9)})

    def restart(self) -> None:
        """Note that no command was due until now: the time before the next one is no silence."""
        self._sent_ns = 0

    def story(self, seconds: float = STORY_S) -> list[dict[str, Any]]:
        """The activities of the last seconds, in order.

        Returns:
            Rows with `what`, `at_ms` (negative: before now), `ms` (duration) and `own_ms` (the
            thread's processor time in it). Notes of other threads have neither `ms` nor `own_ms`.
        """
        now_ns, own_ns = time.monotonic_ns(), time.thread_time_ns()
        since_ns = now_ns - round(seconds * 1e9)
        rows: list[tuple[int, dict[str, Any]]] = []
        end_ns, end_own_ns = now_ns, own_ns
        for k in range(self._count - 1, max(-1, self._count - SIZE), -1):
            slot = k % SIZE
            begin_ns, begin_own_ns = self._wall_ns[slot], self._own_ns[slot]
            ms = (end_ns - begin_ns) * 1e-6
            if ms >= SHORT_MS:
                row = _row(self._what[slot], now_ns - begin_ns)
                row |= {"ms": round(ms, 2), "own_ms": round((end_own_ns - begin_own_ns) * 1e-6, 2)}
                rows.append((begin_ns, row))
            if begin_ns < since_ns:
                break
            end_ns, end_own_ns = begin_ns, begin_own_ns
        rows += [(ns, _row(text, now_ns - ns)) for ns, text in tuple(self._notes) if ns >= since_ns]
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _is_long(self, ms: float) -> bool:
        return len(self.worst) < KEPT or ms > self.worst[-1]["ms"]

    def _keep(self, silence: dict[str, Any]) -> None:
        self.worst = sorted([*self.worst, silence], key=lambda one: -float(one["ms"]))[:KEPT]


def _row(what: str, ago_ns: int) -> dict[str, Any]:
    return {"what": what, "at_ms": -round(ago_ns * 1e-6, 2)}


def format_trace(story: list[dict[str, Any]]) -> str:
    """The three longest activities of a story as text; the wait for a period is left out."""
    busy = [row for row in story if row.get("ms", 0.0) > 0.0 and row["what"] != "wait"]
    busy = sorted(busy, key=lambda row: -float(row["ms"]))[:3]
    return ", ".join(
        f"{row['what']} {row['ms']:.1f} ms ({row['own_ms']:.1f} running)" for row in busy
    )

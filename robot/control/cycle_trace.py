# SPDX-License-Identifier: MIT
"""What the control thread did when: so that a robot that was cut can say where the time went.

A ring of marks, each the beginning of something ("policy", "command", "wait"), with the wall's time
and the thread's own. What took long on the wall and little of the thread's time was not work: the
thread waited, for the interpreter, a disk, a page, or a processor. Other threads note what they
begin. A mark costs a microsecond, and nothing grows.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from typing import Any

SIZE = 4096  # marks; ten a period are eight seconds at 50 Hz
NOTES = 64
STORY_S = 0.15
SHORT_MS = 1.0  # shorter ones are not told
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
        """From now on the control thread does this."""
        slot = self._count % SIZE
        self._what[slot] = what
        self._wall_ns[slot] = time.monotonic_ns()
        self._own_ns[slot] = time.thread_time_ns()
        self._count += 1

    def note(self, text: str) -> None:
        """Another thread begins or ends something."""
        self._notes.append((time.monotonic_ns(), text))

    def sent(self, what: str = "wait") -> None:
        """A command has gone out; from now on the thread does `what`."""
        self.mark(what)
        now_ns = self._wall_ns[(self._count - 1) % SIZE]
        silent_ns, self._sent_ns = now_ns - self._sent_ns, now_ns
        if silent_ns < now_ns and self._is_long(silent_ns * 1e-6):
            self._keep({"ms": silent_ns * 1e-6, "where": self.story(silent_ns * 1e-9)})

    def restart(self) -> None:
        """No command was due until now: what comes is no silence."""
        self._sent_ns = 0

    def story(self, seconds: float = STORY_S) -> list[dict[str, Any]]:
        """What happened in the last seconds, in order: `what`, `at_ms` before now, `ms`, `own_ms`.

        `own_ms` is the processor time of it. What other threads noted has no `ms`.
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
    """The longest of it in a few words; what is waited for on purpose is left out."""
    busy = [row for row in story if row.get("ms", 0.0) > 0.0 and row["what"] != "wait"]
    busy = sorted(busy, key=lambda row: -float(row["ms"]))[:3]
    return ", ".join(
        f"{row['what']} {row['ms']:.1f} ms ({row['own_ms']:.1f} running)" for row in busy
    )

# SPDX-License-Identifier: MIT
"""FIFO worker thread for blocking I/O (logs, terminal) that is kept off the control thread.

Appending to a log or printing can block for tens of milliseconds, after which the supervisor would
take the control process for dead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from walkhome.hardware.realtime import SIDE_THREAD_PRIORITY, prioritise_side_thread

CLOSE_S = 2.0
"""Time limit for closing: a suspended terminal must not block the exit."""


class SideThread:
    """Runs jobs in their order on one thread; as a context manager it waits for them at the end.

    Args:
        name: name of the thread.
        close_s: time limit of `close`; None: no limit.
    """

    def __init__(self, name: str, close_s: float | None = None) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._close_s = close_s
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], object]) -> None:
        """Queue a job; takes microseconds. The job handles its own errors."""
        self._jobs.put(job)

    def close(self) -> None:
        """Wait for all jobs and end the thread; a second call does nothing."""
        self._jobs.put(None)
        self._thread.join(self._close_s)

    def __enter__(self) -> SideThread:
        """The thread itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # Each time: the control thread may have got its own priority since.
            prioritise_side_thread(SIDE_THREAD_PRIORITY)
            job()

# SPDX-License-Identifier: MIT
"""What a control thread must not wait for, done in order by a thread beside it.

A line appended to a log waits for the disk now and then, one printed for the terminal: tens of
milliseconds, in which the supervisor would take the control process for dead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

from walkhome.hardware.realtime import SIDE_PRIORITY, beside

if TYPE_CHECKING:
    from walkhome.robot.monitor.status import Snapshot
    from walkhome.robot.monitor.view import View

CLOSE_S = 2.0
"""A terminal that somebody stopped keeps nobody from ending."""


class SideThread:
    """Does jobs in their order; leaving it waits for them.

    Args:
        name: for people who look at threads.
        close_s: waits at most so long for them.
    """

    def __init__(self, name: str, close_s: float | None = None) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._close_s = close_s
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], object]) -> None:
        """Have it done soon; microseconds. The job handles its own errors."""
        self._jobs.put(job)

    def close(self) -> None:
        """Wait for all jobs, and end; a second call does nothing."""
        self._jobs.put(None)
        self._thread.join(self._close_s)

    def __enter__(self) -> SideThread:
        """The thread itself; leaving closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for all jobs."""
        self.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            beside(SIDE_PRIORITY)  # each time: the control thread may have got its own since
            job()


class BesideView:
    """A view that is drawn by a thread; of the moments that wait, only the newest is.

    Args:
        view: draws.
        thread: its own.
    """

    def __init__(self, view: View, thread: SideThread) -> None:
        self._view, self._thread = view, thread
        self._newest: Snapshot | None = None

    def update(self, snapshot: Snapshot) -> None:
        """Show a moment; microseconds."""
        waits, self._newest = self._newest is not None, snapshot
        if not waits:
            self._thread.do(self._draw)

    def message(self, text: str) -> None:
        """Say one line that stays; microseconds."""
        self._thread.do(lambda: self._view.message(text))

    def close(self) -> None:
        """Wait until all is shown; whoever made the view closes it."""
        self._thread.close()

    def _draw(self) -> None:
        snapshot, self._newest = self._newest, None
        if snapshot is not None:
            self._view.update(snapshot)

# SPDX-License-Identifier: MIT
"""A view that is drawn by a side thread, so that a slow terminal can't delay the control thread."""

from __future__ import annotations

from walkhome.robot.control.side_thread import SideThread
from walkhome.robot.monitor.status import RunStatus
from walkhome.robot.monitor.view import View


class BackgroundView:
    """Passes updates to another view on a side thread; only the newest waiting update is drawn.

    Args:
        view: draws the updates; it is called only on the side thread.
        thread: side thread, used by this view only.
    """

    def __init__(self, view: View, thread: SideThread) -> None:
        self._view, self._thread = view, thread
        self._newest: RunStatus | None = None

    def update(self, status: RunStatus) -> None:
        """Queue a status for drawing; replaces one that waits. Takes microseconds."""
        waits, self._newest = self._newest is not None, status
        if not waits:
            self._thread.do(self._draw)

    def message(self, text: str) -> None:
        """Queue a line for printing. Takes microseconds."""
        self._thread.do(lambda: self._view.message(text))

    def close(self) -> None:
        """Wait until all is drawn, and end the thread. The caller closes the wrapped view."""
        self._thread.close()

    def _draw(self) -> None:
        status, self._newest = self._newest, None
        if status is not None:
            self._view.update(status)

# SPDX-License-Identifier: MIT
"""A view that is drawn by a side thread, so that a slow terminal can't delay the control thread."""

from __future__ import annotations

from walkhome.robot.control.side_thread import SideThread
from walkhome.robot.monitor.status import RunStatus
from walkhome.robot.monitor.view import View


class BackgroundView:
    """Passes updates to another view on a side thread; only the newest waiting update is drawn.

    Args:
        view: draws the updates.
        thread: a thread for this view alone.
    """

    def __init__(self, view: View, thread: SideThread) -> None:
        self._view, self._thread = view, thread
        self._newest: RunStatus | None = None

    def update(self, status: RunStatus) -> None:
        """Show a status; takes microseconds."""
        waits, self._newest = self._newest is not None, status
        if not waits:
            self._thread.do(self._draw)

    def message(self, text: str) -> None:
        """Show a line that stays; takes microseconds."""
        self._thread.do(lambda: self._view.message(text))

    def close(self) -> None:
        """Wait until all is shown. The view itself stays open: its maker closes it."""
        self._thread.close()

    def _draw(self) -> None:
        status, self._newest = self._newest, None
        if status is not None:
            self._view.update(status)

# SPDX-License-Identifier: MIT
"""Signals as a stop request: Ctrl-C, `kill` and a closed terminal end a command gracefully."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopSignal:
    """Signal handler: the first signal requests a stop, the second raises KeyboardInterrupt.

    A context manager that handles SIGINT, SIGTERM and SIGHUP, and restores the previous handlers
    on exit. It implements `robot.control.stop_request.StopRequest`.

    Attributes:
        requested: True after the first signal. The running loop then settles the robot, saves and
            returns.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        """Install the handlers; an ignored SIGHUP (as under `nohup`) stays ignored."""
        for number in self._SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

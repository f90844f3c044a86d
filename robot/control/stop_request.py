# SPDX-License-Identifier: MIT
"""The interface through which a loop learns that it should stop."""

from __future__ import annotations

from typing import Protocol


class StopRequest(Protocol):
    """A request for a graceful stop, polled by everything that runs for long.

    `robot.cli.stop_signal.StopSignal` is the implementation for signals. An implementation may
    raise KeyboardInterrupt instead of returning True, to stop without saving.
    """

    @property
    def requested(self) -> bool:
        """True once a stop was requested; loops ask in every control period."""
        ...

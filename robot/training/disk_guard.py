# SPDX-License-Identifier: MIT
"""What to do when the disk takes nothing: say so, go on in memory, stop before it is too much."""

from __future__ import annotations

import time
from collections.abc import Callable

from walkhome.robot.monitor.view import View
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.recorder import Recorder

MAX_AT_RISK_S = 30.0  # with the longest episode and stand-up, under a minute (issue 3)
POLL_S = 0.1


class DiskGuard:
    """Asked between episodes whether to go on.

    Args:
        run: whose logs may be in trouble.
        recorder: whose journal may be.
        view: told.
        settle: stops the robot while it waits.
        stopped: whether somebody said stop.
    """

    def __init__(
        self,
        run: RunFolder,
        recorder: Recorder,
        view: View,
        settle: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._run, self._recorder, self._view = run, recorder, view
        self._settle, self._stopped = settle, stopped
        self._told = ""

    def go_on(self, risk_s: float = MAX_AT_RISK_S) -> bool:
        """Tells of a failing disk; waits for it, settled, while more than `risk_s` is at risk.

        A disk that is merely slow may have `MAX_AT_RISK_S` in any case.

        Returns:
            False when somebody said stop while waiting.
        """
        trouble = self._recorder.trouble or self._run.trouble
        if trouble and trouble != self._told:
            self._view.message(f"ALARM: {trouble}; learning goes on in memory, free the disk")
        elif self._told and not trouble:
            self._view.message("the disk takes everything again")
        self._told = trouble
        limit_s = risk_s if trouble else MAX_AT_RISK_S
        if self._recorder.at_risk_s() <= limit_s:
            return True
        self._settle()
        self._view.message(f"PAUSED: {self._recorder.at_risk_s():.0f} s are not on the disk yet")
        while self._recorder.at_risk_s() > limit_s and not self._stopped():
            time.sleep(POLL_S)
        return not self._stopped()

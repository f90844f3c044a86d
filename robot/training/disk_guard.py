# SPDX-License-Identifier: MIT
"""Reacts to a failing disk: report it, learn on in memory, pause before too much is at risk."""

from __future__ import annotations

import time
from collections.abc import Callable

from walkhome.robot.monitor.view import View
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.recorder import Recorder

MAX_AT_RISK_S = 30.0
"""Robot time that may be in memory only. With the longest episode and stand-up on top, a crash
costs less than a minute."""
POLL_S = 0.1


class DiskGuard:
    """Decides between episodes whether a run goes on.

    Args:
        run: run folder whose logs may fail.
        recorder: recorder whose journal may fail.
        view: shows alarms.
        settle: lets the robot down before a pause.
        stopped: True ends a pause.
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
        self._reported = ""

    def go_on(self, risk_s: float = MAX_AT_RISK_S) -> bool:
        """Report a failing disk, and wait for it while too much is in memory only.

        Args:
            risk_s: robot time that may be in memory only while the disk fails. A disk that is
                merely slow may always owe `MAX_AT_RISK_S`.

        Returns:
            False if the run was stopped during the wait.
        """
        trouble = self._recorder.trouble or self._run.trouble
        if trouble and trouble != self._reported:
            self._view.message(f"ALARM: {trouble}; learning goes on in memory, free the disk")
        elif self._reported and not trouble:
            self._view.message("the disk takes everything again")
        self._reported = trouble
        limit_s = risk_s if trouble else MAX_AT_RISK_S
        if self._recorder.at_risk_s() <= limit_s:
            return True
        self._settle()
        self._view.message(f"PAUSED: {self._recorder.at_risk_s():.0f} s are not on the disk yet")
        while self._recorder.at_risk_s() > limit_s and not self._stopped():
            time.sleep(POLL_S)
        return not self._stopped()

# SPDX-License-Identifier: MIT
"""A learner in a process of its own that nobody waits for: for a robot in real time.

The control loop writes experience and looks for newer weights; both cost microseconds and neither
waits. The learner does the gradient steps that it owes as fast as it can, and catches up while
the robot stands up. If its process dies, hangs or diverges, it is started again from the run's
newest checkpoint, the journal and what is still in the ring; until then the robot goes on with the
last good policy. That has its limits: so many restarts in so much time, and so long without newer
weights; beyond them it is an error, and the robot settles.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from walkhome.learning.client import LearnerStatus
from walkhome.learning.remote.base import RemoteLearner
from walkhome.learning.remote.process import LearnerLost, LearnerProcess, ProcessSettings

SLOTS = 3
MAX_RESTARTS, RESTART_WINDOW_S = 3, 600.0  # docs/processes.md
MAX_STALE_S = 120.0
"""Longer without newer weights, while there is something to learn, the robot stops."""


class FreeLearner(RemoteLearner):
    """`learning.client.LearnerClient` that never makes its caller wait while the robot moves.

    `save`, `state_dict` and `finite` may be called from one other thread; they do wait.

    Args:
        settings: how the process is run.
        tasks: their names.
        restore: what a process that is started again is told besides `settings.setup`.
        clock: monotonic seconds.

    Raises:
        LearnerLost: it could not be started.
        OSError: the system does not give what it needs.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        tasks: Sequence[str],
        restore: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = replace(settings, slots=SLOTS, publish_every=0)
        self._restore, self._clock = restore, clock
        self._asking = threading.Lock()
        self._restarts: deque[float] = deque()
        self._restart_count = 0
        self._saved_at = 0  # messages when a state was asked for last
        self._notices: list[str] = []
        self._ended: list[LearnerProcess] = []
        self._progress, self._progress_s = 0, clock()
        self._started_s = self._fresh_s = clock()
        self._loading = self._starting = False
        super().__init__([LearnerProcess(self._settings)], tasks)
        self._part = self._parts[0]

    def forget(self) -> None:
        """Forget all transitions; those that follow until `refresh` are waited for, not dropped."""
        super().forget()
        self._loading = True

    def refresh(self) -> None:
        """Use newer weights if there are any, and look after the process; does not wait.

        Raises:
            LearnerLost: it was lost too often, or there were no newer weights for too long.
        """
        self._loading = False
        if self._asking.locked():
            return  # whoever asks would notice
        try:
            if self._alive():
                latest = self._part.process.snapshots.latest
                if latest > self._part.number and self._part.take(latest):
                    self._fresh_s = self._clock()
        except (LearnerLost, FloatingPointError) as error:
            self._start_again(error)
        now_s = self._clock()
        if self.gradient_steps >= self._asked:
            self._fresh_s = now_s
        if now_s - self._fresh_s > MAX_STALE_S:
            raise LearnerLost(f"the learner had no newer weights for {MAX_STALE_S:g} s")

    def status(self) -> LearnerStatus:
        """How it keeps up."""
        notes = self._part.notes
        return LearnerStatus(
            wanted_steps=self._asked,
            gradient_steps=self.gradient_steps,
            behind_steps=max(0, self._added - int(notes["added"])),
            behind_s=max(0.0, self._clock() - float(notes["time_s"])),
            dropped=int(notes["lost"]),
            restarts=self._restart_count,
        )

    def notices(self) -> list[str]:
        """What happened to it since the last call, for people."""
        told, self._notices = self._notices, []
        return told

    def drain(self) -> None:
        """Wait until it has heard everything (not: learned from it); use its weights.

        One that is lost now is not started again: the run is ending.
        """
        with contextlib.suppress(LearnerLost, FloatingPointError):
            ((answer, _),) = self._ask("sync")
            self._part.take(int(answer["number"]))

    def save(self, **wish: Any) -> dict[str, Any]:
        """Have the learner's process write a checkpoint of itself; waits until it is written.

        Nothing large comes here: another thread that copies megabytes holds the interpreter, and
        makes the control thread late.

        Args:
            **wish: JSON-able, for whoever made the process (`learning.remote.worker.Start.save`).

        Returns:
            What that answers.

        Raises:
            LearnerLost: it is gone.
            FloatingPointError: it has diverged; nothing was saved.
        """
        ((answer, _),) = self._ask("save", **wish)
        return answer

    def load_state_dict(self, state: Any) -> None:
        """Go on from `state_dict`; see `RemoteLearner.load_state_dict`."""
        super().load_state_dict(state)
        self._asked = int(state["scalars"]["gradient_steps"])
        self.refresh()

    def close(self) -> None:
        """End the process; safe to call twice."""
        super().close()
        for process in self._ended:
            process.close(wait_s=0.0)
        self._ended.clear()

    def _make_room(self, process: LearnerProcess) -> None:
        if self._loading:
            process.wait_for_room(1)

    # -- looking after it --------------------------------------------------------------------------

    def _alive(self) -> bool:
        """Whether it runs and is ready."""
        process, now_s = self._part.process, self._clock()
        if self._starting:
            if not process.poll_ready():
                if now_s - self._started_s > self._settings.start_s:
                    raise LearnerLost(
                        f"the learner is not ready after {self._settings.start_s:g} s"
                    )
                return False
            self._notices.append(
                f"the learner is back after {now_s - self._started_s:.1f} s (pid {process.pid})"
            )
            self._starting, self._progress_s = False, now_s
        process.check()
        ring = process.ring
        idle = ring.consumed == ring.written and self.gradient_steps >= self._asked
        if idle or ring.progress != self._progress:
            self._progress, self._progress_s = ring.progress, now_s
        elif now_s - self._progress_s > self._settings.hang_s:
            raise LearnerLost(f"the learner did nothing for {self._settings.hang_s:g} s")
        return True

    def _start_again(self, error: BaseException) -> None:
        now_s = self._clock()
        while self._restarts and now_s - self._restarts[0] > RESTART_WINDOW_S:
            self._restarts.popleft()
        lost = self._part.process
        lost.abandon()
        self._ended.append(lost)
        if self._restore is None or len(self._restarts) >= MAX_RESTARTS:
            raise LearnerLost(f"{error}; after {len(self._restarts)} restarts") from error
        self._notices.append(
            f"ALARM: {error}; the robot goes on with the last good policy while it starts again"
        )
        self._restarts.append(now_s)
        self._restart_count += 1
        self._starting, self._started_s = True, now_s
        self._part.number = 0
        more = {**self._restore, "episodes_from": self._saved_at}
        settings = replace(self._settings, setup={**self._settings.setup, "restore": more})
        self._part.process = LearnerProcess(settings, lost.ring_memory)

    def _ask(
        self, question: str, blob: bytes = b"", **more: Any
    ) -> list[tuple[dict[str, Any], bytes]]:
        with self._asking:
            process = self._part.process
            process.wait_ready()
            if question in ("state", "save"):
                self._saved_at = process.ring.written
            return [process.ask(question, blob, **more)]

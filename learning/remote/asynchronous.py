# SPDX-License-Identifier: MIT
"""Asynchronous learner in its own process, for a robot in real time.

    control process --transitions--> ring --> learner process --> snapshots --> policies

Neither side waits for the other. The control loop writes transitions and looks for newer weights;
both take microseconds. The learner does the gradient steps that it was asked for as fast as it can,
and catches up while the robot stands up. If its process dies, hangs or diverges, it is started
again from the run's newest checkpoint, the journal and what is still in the ring; meanwhile the
robot acts on the last good policy. More than `MAX_RESTARTS` restarts in `RESTART_WINDOW_S`, or no
newer weights for `MAX_STALE_S`, raise `LearnerLost` (docs/processes.md).
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
"""Longest time without newer weights, while there is something to learn."""


class AsynchronousLearner(RemoteLearner):
    """A `learning.client.LearnerClient` that never blocks the control loop.

    `save`, `state_dict` and `finite` do wait for the learner; one other thread may call them.

    Args:
        settings: How the process is run; `slots` and `publish_every` are replaced.
        tasks: Names of the tasks.
        restore: Added to `settings.setup` when the process is started again; None allows no
            restart.
        clock: Monotonic time, s.

    Raises:
        LearnerLost: The process could not be started.
        OSError: The system lacks shared memory or descriptors.
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
        self._request_lock = threading.Lock()
        self._restart_times_s: deque[float] = deque()
        self._restart_count = 0
        self._saved_at = 0  # messages written when a state was requested last
        self._notices: list[str] = []
        self._ended: list[LearnerProcess] = []
        self._progress, self._progress_s = 0, clock()
        self._started_s = self._fresh_s = clock()
        self._refilling = self._starting = False
        super().__init__([LearnerProcess(self._settings)], tasks)
        self._replica = self._replicas[0]

    def forget(self) -> None:
        """Empty the replay. Until the next `refresh`, `add` waits for room and drops nothing."""
        super().forget()
        self._refilling = True

    def refresh(self) -> None:
        """Switch to newer weights if there are any, and supervise the process; does not wait.

        Raises:
            LearnerLost: Too many restarts, or no newer weights for too long.
        """
        self._refilling = False
        if self._request_lock.locked():
            return  # the thread that waits for a reply notices a lost process
        try:
            if self._check_process():
                latest = self._replica.process.snapshots.latest
                if latest > self._replica.number and self._replica.take(latest):
                    self._fresh_s = self._clock()
        except (LearnerLost, FloatingPointError) as error:
            self._start_again(error)
        now_s = self._clock()
        if self.gradient_steps >= self._requested_steps:
            self._fresh_s = now_s
        if now_s - self._fresh_s > MAX_STALE_S:
            raise LearnerLost(f"the learner had no newer weights for {MAX_STALE_S:g} s")

    def status(self) -> LearnerStatus:
        """How far the learner is behind, as of the weights in use."""
        notes = self._replica.notes
        return LearnerStatus(
            wanted_steps=self._requested_steps,
            gradient_steps=self.gradient_steps,
            behind_steps=max(0, self._added - int(notes["added"])),
            behind_s=max(0.0, self._clock() - float(notes["time_s"])),
            dropped=int(notes["lost"]),
            restarts=self._restart_count,
        )

    def notices(self) -> list[str]:
        """Messages for the operator since the last call: the process was lost, or is back."""
        new, self._notices = self._notices, []
        return new

    def drain(self) -> None:
        """Wait until the learner has read all messages, and switch to its weights.

        It need not have done all gradient steps. A process that is lost now is not started again.
        """
        with contextlib.suppress(LearnerLost, FloatingPointError):
            ((reply, _),) = self._request("sync")
            self._replica.take(int(reply["number"]))

    def save(self, **fields: Any) -> dict[str, Any]:
        """Have the learner process write a checkpoint; waits until it is on the disk.

        The state itself stays in that process: copying megabytes in a thread of this one holds the
        interpreter lock and makes the control loop late.

        Args:
            **fields: JSON-able; passed to `learning.remote.worker.WorkerStart.save`.

        Returns:
            What that function returns.

        Raises:
            LearnerLost: The process is lost.
            FloatingPointError: The learner diverged; nothing was saved.
        """
        ((reply, _),) = self._request("save", **fields)
        return reply

    def load_state_dict(self, state: Any) -> None:
        """Continue from `state_dict`; see `RemoteLearner.load_state_dict`."""
        super().load_state_dict(state)
        self._requested_steps = int(state["scalars"]["gradient_steps"])
        self.refresh()

    def close(self) -> None:
        """End the process; safe to call twice."""
        super().close()
        for process in self._ended:
            process.close(wait_s=0.0)
        self._ended.clear()

    def _make_room(self, process: LearnerProcess) -> None:
        if self._refilling:
            process.wait_for_room(1)

    # -- supervision of the process ----------------------------------------------------------------

    def _check_process(self) -> bool:
        """True if the process is ready.

        Raises:
            LearnerLost: It died, hangs, or is not ready in time.
        """
        process, now_s = self._replica.process, self._clock()
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
        read_all = ring.consumed == ring.written
        idle = read_all and self.gradient_steps >= self._requested_steps
        if idle or ring.progress != self._progress:
            self._progress, self._progress_s = ring.progress, now_s
        elif now_s - self._progress_s > self._settings.hang_s:
            raise LearnerLost(f"the learner did nothing for {self._settings.hang_s:g} s")
        return True

    def _start_again(self, error: BaseException) -> None:
        now_s = self._clock()
        while self._restart_times_s and now_s - self._restart_times_s[0] > RESTART_WINDOW_S:
            self._restart_times_s.popleft()
        lost = self._replica.process
        lost.abandon()
        self._ended.append(lost)
        if self._restore is None or len(self._restart_times_s) >= MAX_RESTARTS:
            raise LearnerLost(f"{error}; after {len(self._restart_times_s)} restarts") from error
        self._notices.append(
            f"ALARM: {error}; the robot continues with the last good policy during the restart"
        )
        self._restart_times_s.append(now_s)
        self._restart_count += 1
        self._starting, self._started_s = True, now_s
        self._replica.number = 0
        restore = {**self._restore, "episodes_from": self._saved_at}
        settings = replace(self._settings, setup={**self._settings.setup, "restore": restore})
        self._replica.process = LearnerProcess(settings, lost.ring_memory)

    def _request(
        self, name: str, blob: bytes = b"", **more: Any
    ) -> list[tuple[dict[str, Any], bytes]]:
        with self._request_lock:
            process = self._replica.process
            process.wait_ready()
            if name in ("state", "save"):
                self._saved_at = process.ring.written
            return [process.request(name, blob, **more)]

# SPDX-License-Identifier: MIT
"""Pipelined learner: learns from one control step in other processes while the next one runs.

    control    step 5 | step 6 | step 7 | ...
    learner           | from 5 | from 6 | from 7 ...

Deterministic: the control step after n calls of `update` acts on the weights after call number
publish_every * floor((n - lag) / publish_every), never on newer ones that happen to be there. With
a lag of 1 the learner learns from step t while step t + 1 runs. A larger lag lets it fall behind
by that many steps and catch up while the robot stands up. Every request (save or load a state)
synchronises both sides, and the calls are counted from zero again after it, so a run that resumes
from a checkpoint continues bit for bit like the run that wrote the checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from walkhome.learning.client import LearnerStatus
from walkhome.learning.remote.base import PolicyReplicas, RemoteLearner
from walkhome.learning.remote.process import LearnerProcess, ProcessSettings


class PipelinedLearner(RemoteLearner):
    """A `learning.client.LearnerClient` in other processes, with a fixed lag.

    The number of processes changes only the time taken, not the result: each process does the
    arithmetic of its own tasks.

    Args:
        settings: One per process, each with its share of the tasks; `slots` and `publish_every`
            are replaced by what the lag asks for.
        tasks: Names of all tasks.
        lag: Control steps by which the weights in use are behind, at least 1.

    Raises:
        ValueError: The lag is less than 1.
        LearnerLost: A process could not be started.
        OSError: The system lacks shared memory or descriptors.
    """

    def __init__(self, settings: Sequence[ProcessSettings], tasks: Sequence[str], lag: int) -> None:
        if lag < 1:
            raise ValueError(f"a pipeline has a lag of at least 1, got {lag}")
        self._lag, self._publish_every = lag, max(1, lag // 4)
        slots = lag // self._publish_every + 3
        processes = [
            LearnerProcess(replace(each, slots=slots, publish_every=self._publish_every))
            for each in settings
        ]
        super().__init__(processes, tasks)
        self._calls = 0  # of `update` since the last synchronisation
        self._pending: deque[int] = deque()  # number of calls at each snapshot not yet in use

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps; returns 0, the number done already."""
        super().update(n_updates)
        self._calls += 1
        if self._calls % self._publish_every == 0:
            self._pending.append(self._calls)
        return 0

    def refresh(self) -> None:
        """Switch to the weights of the next control step; waits until they are published.

        Raises:
            LearnerLost: A learner process died or hangs.
            FloatingPointError: The learner diverged.
        """
        newer = 0
        while self._pending and self._pending[0] <= self._calls - self._lag:
            self._pending.popleft()
            newer += 1
        if newer:
            for replicas in self._replicas:
                number = replicas.number + newer
                replicas.process.wait_for_snapshot(number)
                _take(replicas, number)

    def status(self) -> LearnerStatus | None:
        """None: its lag is fixed."""
        return None

    def notices(self) -> list[str]:
        """An empty list: a process that is lost ends the run."""
        return []

    def _make_room(self, process: LearnerProcess) -> None:
        process.wait_for_room(1)

    def _request(
        self, name: str, blob: bytes = b"", **more: Any
    ) -> list[tuple[dict[str, Any], bytes]]:
        """Send a request, synchronise, and restart the count of calls with the newest weights."""
        replies = super()._request(name, blob, **more)
        self._calls = 0
        self._pending.clear()
        for replicas, (reply, _) in zip(self._replicas, replies, strict=True):
            self._requested_steps = int(reply["requested_steps"])
            _take(replicas, int(reply["number"]))
        return replies


def _take(replicas: PolicyReplicas, number: int) -> None:
    if not replicas.take(number):
        raise RuntimeError(f"snapshot {number} is damaged in memory: check this computer's RAM")

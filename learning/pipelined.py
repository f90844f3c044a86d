# SPDX-License-Identifier: MIT
"""A learner in a process of its own, pipelined: it learns from one step while the next is made.

    control    step 5 | step 6 | step 7 | ...
    learner           | from 5 | from 6 | from 7 ...

Deterministic: the step after n calls of `update` acts on the weights after the newest multiple of
`publish_every` calls that is at most n - lag, never on newer ones that happen to be there. With a
lag of 1 the learner learns from step t while step t + 1 is made. A larger lag lets it be late by so
many steps and catch up while the robot stands up. Every question (a state to save, a state to load)
brings both to the same point, and the count starts anew there: a run that was resumed from a
checkpoint goes on as the one that wrote it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from learning.client import LearnerStatus
from learning.process import LearnerProcess, ProcessSettings
from learning.remote import RemoteLearner
from learning.ring import Kind


class PipelinedLearner(RemoteLearner):
    """`learning.client.LearnerClient` in another process, with a fixed lag.

    Args:
        settings: how the process is run; slots and publish_every follow from the lag.
        tasks: their names.
        lag: steps that the weights in use are behind, at least 1.

    Raises:
        LearnerLost: it could not be started.
        OSError: the system does not give what it needs.
    """

    def __init__(self, settings: ProcessSettings, tasks: Sequence[str], lag: int) -> None:
        if lag < 1:
            raise ValueError(f"a pipeline has a lag of at least 1, got {lag}")
        self._lag, self._every = lag, max(1, lag // 4)
        slots = lag // self._every + 3
        process = LearnerProcess(replace(settings, slots=slots, publish_every=self._every))
        super().__init__(process, tasks)
        self._calls = 0  # of update, since both were at the same point
        self._coming: deque[tuple[int, int]] = deque()  # calls, number of the snapshot after them

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps; none is done yet."""
        self._make_room()
        self._asked += n_updates
        self._process.ring.write(Kind.UPDATE, count=self._asked)
        self._process.tell()
        self._calls += 1
        if self._calls % self._every == 0:
            newest = self._coming[-1][1] if self._coming else self._number
            self._coming.append((self._calls, newest + 1))
        return 0

    def refresh(self) -> None:
        """Use the weights that belong to the next step; waits for them.

        Raises:
            LearnerLost: the learner died or hangs.
            FloatingPointError: it diverged.
        """
        number = self._number
        while self._coming and self._coming[0][0] <= self._calls - self._lag:
            number = self._coming.popleft()[1]
        if number != self._number:
            self._process.wait_for_snapshot(number)
            self._use(number)

    def status(self) -> LearnerStatus | None:
        """None: it is where it is said to be."""
        return None

    def notices(self) -> list[str]:
        """None: what happens to it ends the run."""
        return []

    def _make_room(self) -> None:
        self._process.wait_for_room(1)

    def _ask(self, question: str, blob: bytes = b"", **more: Any) -> tuple[dict[str, Any], bytes]:
        """Ask, and start counting anew at the answer, with the weights of then."""
        answer, out = super()._ask(question, blob, **more)
        self._calls = 0
        self._coming.clear()
        self._asked = int(answer["asked"])
        self._use(int(answer["number"]))
        return answer, out

    def _use(self, number: int) -> None:
        if not self.take(number):
            raise RuntimeError(f"snapshot {number} is damaged in memory: check this computer's RAM")

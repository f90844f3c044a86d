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

from walkhome.learning.client import LearnerStatus
from walkhome.learning.remote.base import Part, RemoteLearner
from walkhome.learning.remote.process import LearnerProcess, ProcessSettings


class PipelinedLearner(RemoteLearner):
    """`learning.client.LearnerClient` in other processes, with a fixed lag.

    How many they are changes nothing but the time it takes: each does the arithmetic of its tasks.

    Args:
        settings: how each process is run, and with it which tasks are its own; slots and
            publish_every follow from the lag.
        tasks: names of all.
        lag: steps that the weights in use are behind, at least 1.

    Raises:
        LearnerLost: one could not be started.
        OSError: the system does not give what it needs.
    """

    def __init__(self, settings: Sequence[ProcessSettings], tasks: Sequence[str], lag: int) -> None:
        if lag < 1:
            raise ValueError(f"a pipeline has a lag of at least 1, got {lag}")
        self._lag, self._every = lag, max(1, lag // 4)
        slots = lag // self._every + 3
        processes = [
            LearnerProcess(replace(each, slots=slots, publish_every=self._every))
            for each in settings
        ]
        super().__init__(processes, tasks)
        self._calls = 0  # of update, since all were at the same point
        self._coming: deque[int] = deque()  # calls before each one that is not in use yet

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps; none is done yet."""
        super().update(n_updates)
        self._calls += 1
        if self._calls % self._every == 0:
            self._coming.append(self._calls)
        return 0

    def refresh(self) -> None:
        """Use the weights that belong to the next step; waits for them.

        Raises:
            LearnerLost: a learner died or hangs.
            FloatingPointError: it diverged.
        """
        newer = 0
        while self._coming and self._coming[0] <= self._calls - self._lag:
            self._coming.popleft()
            newer += 1
        if newer:
            for part in self._parts:
                number = part.number + newer
                part.process.wait_for_snapshot(number)
                _use(part, number)

    def status(self) -> LearnerStatus | None:
        """None: it is where it is said to be."""
        return None

    def notices(self) -> list[str]:
        """None: what happens to it ends the run."""
        return []

    def _make_room(self, process: LearnerProcess) -> None:
        process.wait_for_room(1)

    def _ask(
        self, question: str, blob: bytes = b"", **more: Any
    ) -> list[tuple[dict[str, Any], bytes]]:
        """Ask, and start counting anew at the answers, with the weights of then."""
        answers = super()._ask(question, blob, **more)
        self._calls = 0
        self._coming.clear()
        for part, (answer, _) in zip(self._parts, answers, strict=True):
            self._asked = int(answer["asked"])
            _use(part, int(answer["number"]))
        return answers


def _use(part: Part, number: int) -> None:
    if not part.take(number):
        raise RuntimeError(f"snapshot {number} is damaged in memory: check this computer's RAM")

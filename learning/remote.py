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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning.policy import NumpyPolicy
from learning.process import LearnerProcess, ProcessSettings
from learning.ring import Kind


class Policies:
    """All tasks' policies on one vector of weights.

    Args:
        ready: what the learner process said when it was: where each network is.
        weights: (n,) float32 that they act on, as the caller changes it.
    """

    def __init__(self, ready: Mapping[str, Any], weights: NDArray[np.float32]) -> None:
        low, high = ready["log_std_range"]
        self.of = {
            task: NumpyPolicy(_layers(weights, at), (low, high), at["told"])
            for task, at in ready["tasks"].items()
        }


class PipelinedLearner:
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
        self._tasks = tuple(tasks)
        self._lag, self._every = lag, max(1, lag // 4)
        slots = lag // self._every + 3
        self._process = LearnerProcess(replace(settings, slots=slots, publish_every=self._every))
        try:
            ready = self._process.wait_ready()
        except BaseException:
            self._process.close(wait_s=0.0)
            raise
        self._weights = np.zeros(int(ready["weights"]), np.float32)
        self._notes: dict[str, Any] = {}
        self._take(int(ready["ready"]))
        self._policies = Policies(ready, self._weights)
        self._added = self._asked = 0
        self._calls = 0  # of update, since both were at the same point
        self._coming: deque[tuple[int, int]] = deque()  # calls, number of the snapshot after them

    @property
    def pid(self) -> int:
        """Process id of the learner."""
        return self._process.pid

    @property
    def gradient_steps(self) -> int:
        """Updates in the weights in use."""
        return int(self._notes["gradient_steps"])

    def add(
        self,
        observation: ArrayLike,
        action: ArrayLike,
        rewards: ArrayLike,
        costs: ArrayLike,
        next_observation: ArrayLike,
        done: bool,
        task: str,
    ) -> None:
        """Hand one transition over; see `learning.learner.Learner.add`."""
        self._process.wait_for_room(1)
        self._process.ring.write(
            Kind.ADD,
            self._index(task),
            self._added + 1,
            done,
            (observation, action, next_observation, rewards),
            costs,
        )
        self._added += 1

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps; none is done yet."""
        self._process.wait_for_room(1)
        self._asked += n_updates
        self._process.ring.write(Kind.UPDATE, count=self._asked)
        self._process.tell()
        self._calls += 1
        if self._calls % self._every == 0:
            newest = self._coming[-1][1] if self._coming else self._number
            self._coming.append((self._calls, newest + 1))
        return 0

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Move the task's multipliers."""
        self._process.wait_for_room(1)
        self._process.ring.write(Kind.END_EPISODE, self._index(task), costs=mean_costs)
        self._process.tell()

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
            self._take(number)

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy on the weights in use."""
        return self._policies.of[self._tasks[self._index(task)]]

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) as of the weights in use."""
        return np.array(self._notes["tasks"][task]["lambda"], np.float64)

    def metrics(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Per task, as of the weights in use."""
        metrics: Mapping[str, Mapping[str, float | list[float]]] = self._notes["tasks"]
        return metrics

    def drain(self) -> None:
        """Wait until all that was asked for is done, and use its weights."""
        self._ask("sync")

    def forget(self) -> None:
        """Forget all transitions."""
        self._ask("forget")
        self._added = 0

    def finite(self) -> bool:
        """Whether every number that acts or learns is finite."""
        answer, _ = self._ask("finite")
        return bool(answer["finite"])

    def state_dict(self) -> dict[str, Any]:
        """All that evolves but the replay, after all that was asked for."""
        from safetensors.numpy import load

        answer, blob = self._ask("state")
        return {"tensors": load(blob), "scalars": answer["scalars"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            ValueError: it does not fit; nothing has changed then.
        """
        from safetensors.numpy import save

        blob = save(
            {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in state["tensors"].items()}
        )
        answer, _ = self._ask("load", blob, scalars=state["scalars"])
        if "refused" in answer:
            raise ValueError(answer["refused"])

    def close(self) -> None:
        """End the process; safe to call twice."""
        self._process.close()

    def _ask(self, question: str, blob: bytes = b"", **more: Any) -> tuple[dict[str, Any], bytes]:
        """Ask, and start counting anew at the answer, with the weights of then."""
        answer, out = self._process.ask(question, blob, **more)
        self._calls = 0
        self._coming.clear()
        self._asked = int(answer["asked"])
        self._take(int(answer["number"]))
        return answer, out

    def _take(self, number: int) -> None:
        notes = self._process.snapshots.take(number, self._weights)
        if notes is None:
            raise RuntimeError(f"snapshot {number} is damaged in memory: check this computer's RAM")
        self._notes, self._number = notes, number

    def _index(self, task: str) -> int:
        try:
            return self._tasks.index(task)
        except ValueError:
            raise ValueError(f"unknown task {task!r}: this learner has {self._tasks}") from None


def _layers(
    weights: NDArray[np.float32], where: Mapping[str, Any]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Views of the weights: (out, in) and (out,) per layer."""
    start, layers = int(where["start"]), []
    for rows, columns in where["shapes"]:
        middle = start + rows * columns
        weight = weights[start:middle].reshape(rows, columns)
        layers.append((weight, weights[middle : middle + rows]))
        start = middle + rows
    return layers

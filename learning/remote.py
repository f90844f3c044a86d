# SPDX-License-Identifier: MIT
"""What all learners in a process of their own have in common, seen from the control process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning.policy import NumpyPolicy
from learning.process import LearnerProcess
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


class RemoteLearner:
    """The parts of `learning.client.LearnerClient` that do not depend on who waits for whom.

    Args:
        process: it; waited for until it is ready.
        tasks: their names.

    Attributes:
        weights: (n,) float32 that the policies act on.

    Raises:
        LearnerLost: it could not be started.
    """

    def __init__(self, process: LearnerProcess, tasks: Sequence[str]) -> None:
        self._tasks = tuple(tasks)
        self._process = process
        try:
            ready = process.wait_ready()
        except BaseException:
            process.close(wait_s=0.0)
            raise
        self.weights = np.zeros(int(ready["weights"]), np.float32)
        self._notes: dict[str, Any] = {}
        self._number = 0  # of the snapshot in use
        self._policies = Policies(ready, self.weights)
        self._added = self._asked = 0
        self.take(int(ready["ready"]))

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
        self._make_room()
        self._process.ring.write(
            Kind.ADD,
            self._index(task),
            self._added + 1,
            done,
            (observation, action, next_observation, rewards),
            costs,
        )
        self._added += 1

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Move the task's multipliers."""
        self._make_room()
        self._process.ring.write(Kind.END_EPISODE, self._index(task), costs=mean_costs)
        self._process.tell()

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
        self._process.ring_memory.close()

    def take(self, number: int) -> bool:
        """Use a snapshot; whether it was whole.

        Raises:
            FloatingPointError: the learner diverged.
        """
        notes = self._process.snapshots.take(number, self.weights)
        if notes is not None:
            self._notes, self._number = notes, number
        return notes is not None

    def _make_room(self) -> None:
        """Called before a message is written."""

    def _ask(self, question: str, blob: bytes = b"", **more: Any) -> tuple[dict[str, Any], bytes]:
        return self._process.ask(question, blob, **more)

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

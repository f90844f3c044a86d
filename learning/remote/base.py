# SPDX-License-Identifier: MIT
"""What the pipelined and the asynchronous learner share, on the control process's side.

add, update, end_episode --> ring of each learner process
newest snapshot          --> PolicyReplicas: weights, policies and metrics in use
save, load, forget ...   --> request and reply on each process's channel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walkhome.learning.policy import NumpyPolicy
from walkhome.learning.remote.process import LearnerProcess
from walkhome.learning.remote.transition_ring import MessageKind
from walkhome.learning.transition import Transition


class PolicyReplicas:
    """Copies of the policies of one learner process.

    Args:
        process: The learner process; it must be ready.
        ready: Its ready message: the tasks it learns, and where their networks lie in a snapshot.

    Attributes:
        process: The learner process; replaced by a new one when it is started again.
        weights: (n,) float32 that the policies act on, in place.
        policies: By task name.
        number: Number of the snapshot in use; 0 if it came from an earlier process.
        notes: What the learner published with that snapshot (metrics, counters).
        slow_because: See `learning.learner.Learner`.
    """

    def __init__(self, process: LearnerProcess, ready: Mapping[str, Any]) -> None:
        self.process = process
        self.weights = np.zeros(int(ready["weights"]), np.float32)
        self.slow_because = str(ready["slow_because"])
        low, high = ready["log_std_range"]
        self.notes: dict[str, Any] = {}
        self.number = 0
        self.take(int(ready["ready"]))
        self.policies = {
            task: NumpyPolicy(_layers(self.weights, at), (low, high), at["task_code"])
            for task, at in ready["tasks"].items()
        }

    def take(self, number: int) -> bool:
        """Switch to snapshot `number`; False, and nothing changes, if it is torn or overwritten.

        Raises:
            FloatingPointError: The learner diverged.
        """
        notes = self.process.snapshots.take(number, self.weights)
        if notes is not None:
            self.notes, self.number = notes, number
        return notes is not None


class RemoteLearner:
    """The part of `learning.client.LearnerClient` that is the same for all remote learners.

    Args:
        processes: Each learns some of the tasks; the constructor waits until all are ready.
        tasks: Names of all tasks.

    Raises:
        LearnerLost: A process could not be started.
    """

    def __init__(self, processes: Sequence[LearnerProcess], tasks: Sequence[str]) -> None:
        self._tasks = tuple(tasks)
        try:
            self._replicas = [PolicyReplicas(p, p.wait_ready()) for p in processes]
        except BaseException:
            for process in processes:
                process.close(wait_s=0.0)
            raise
        self._owner = {task: each for each in self._replicas for task in each.policies}
        self._added = self._requested_steps = 0

    @property
    def pids(self) -> list[int]:
        """Process ids of the learner."""
        return [each.process.pid for each in self._replicas]

    @property
    def gradient_steps(self) -> int:
        """Gradient steps, over all tasks, that the weights in use have had."""
        return int(self._replicas[0].notes["gradient_steps"])

    @property
    def slow_because(self) -> str:
        """Why the learner is slow; see `learning.learner.Learner`."""
        return self._replicas[0].slow_because

    def add(self, transition: Transition) -> None:
        """Copy one transition into the ring of every process.

        Raises:
            ValueError: Its task is unknown, or a number has the wrong size or is not finite.
            LearnerLost: A process that must not lose anything died or hangs (pipelined).
        """
        index, count = self._index(transition.task), self._added + 1
        for each in self._replicas:
            self._make_room(each.process)
            each.process.ring.write_transition(transition, index, count)
        self._added = count

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps; returns 0, the number done already."""
        self._requested_steps += n_updates
        for each in self._replicas:
            self._make_room(each.process)
            each.process.ring.write(MessageKind.UPDATE, count=self._requested_steps)
            each.process.wake()
        return 0

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Update the task's multipliers with the (K,) mean costs per step of its episode."""
        index = self._index(task)
        for each in self._replicas:
            self._make_room(each.process)
            each.process.ring.write(MessageKind.END_EPISODE, index, costs=mean_costs)
            each.process.wake()

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy on the weights in use; the same object for the learner's life."""
        return self._owner[self._tasks[self._index(task)]].policies[task]

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) multipliers of the task, as published with the weights in use."""
        return np.array(self._owner[task].notes["tasks"][task]["lambda"], np.float64)

    def metrics(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Per task: alpha, lambda, q_mean, ..., as published with the weights in use."""
        return {task: self._owner[task].notes["tasks"][task] for task in self._tasks}

    def drain(self) -> None:
        """Wait until everything asked for is done, and switch to its weights."""
        self._request("sync")

    def forget(self) -> None:
        """Empty the replay; weights and multipliers stay."""
        self._request("forget")
        self._added = 0

    def finite(self) -> bool:
        """True if every number that acts or learns is finite; waits for the answer."""
        return all(reply["finite"] for reply, _ in self._request("finite"))

    def state_dict(self) -> dict[str, Any]:
        """`tensors` and `scalars` of everything that evolves except the replay.

        Waits until everything asked for is done.

        Raises:
            RuntimeError: The processes disagree on what they must agree on.
        """
        from safetensors.numpy import load

        replies = self._request("state")
        scalars = [reply["scalars"] for reply, _ in replies]
        if any(other != scalars[0] for other in scalars):
            raise RuntimeError("the learner processes disagree: check this computer's RAM")
        tensors = {name: array for _, blob in replies for name, array in load(blob).items()}
        return {"tensors": tensors, "scalars": scalars[0]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: It does not fit; nothing has changed then.
        """
        from safetensors.numpy import save

        tensors = state["tensors"].items()
        blob = save({k: np.ascontiguousarray(v).reshape(v.shape) for k, v in tensors})
        for reply, _ in self._request("load", blob, scalars=state["scalars"]):
            if "refused" in reply:
                raise ValueError(reply["refused"])

    def close(self) -> None:
        """End the processes and free the rings; safe to call twice."""
        for each in self._replicas:
            each.process.hang_up()
        for each in self._replicas:
            each.process.close()
            each.process.ring_memory.close()

    def _make_room(self, process: LearnerProcess) -> None:
        """Called before each message; a learner that must lose nothing waits here."""

    def _request(
        self, name: str, blob: bytes = b"", **more: Any
    ) -> list[tuple[dict[str, Any], bytes]]:
        """Send a request to every process; their replies and bytes, in the processes' order."""
        return [each.process.request(name, blob, **more) for each in self._replicas]

    def _index(self, task: str) -> int:
        try:
            return self._tasks.index(task)
        except ValueError:
            raise ValueError(f"unknown task {task!r}: this learner has {self._tasks}") from None


def _layers(
    weights: NDArray[np.float32], where: Mapping[str, Any]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Per layer, views of the weights: (out, in) and (out,)."""
    start, layers = int(where["start"]), []
    for rows, columns in where["shapes"]:
        middle = start + rows * columns
        weight = weights[start:middle].reshape(rows, columns)
        layers.append((weight, weights[middle : middle + rows]))
        start = middle + rows
    return layers

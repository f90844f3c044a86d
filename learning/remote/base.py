# SPDX-License-Identifier: MIT
"""What all learners in a process of their own have in common, seen from the control process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walkhome.learning.policy import NumpyPolicy
from walkhome.learning.remote.process import LearnerProcess
from walkhome.learning.remote.transition_ring import Kind
from walkhome.learning.transition import Transition


class Part:
    """The tasks of one learner process.

    Args:
        process: it.
        ready: what it said when it was: which tasks, and where their networks are.

    Attributes:
        process: it; another one takes its place when it is started again.
        weights: (n,) float32 that the policies act on.
        policies: by task.
        number: of the snapshot in use; 0 for none of this process yet.
        notes: what was published with it.
        slow_because: see `learning.learner.Learner`.
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
            task: NumpyPolicy(_layers(self.weights, at), (low, high), at["told"])
            for task, at in ready["tasks"].items()
        }

    def take(self, number: int) -> bool:
        """Use a snapshot; whether it was whole.

        Raises:
            FloatingPointError: the learner diverged.
        """
        notes = self.process.snapshots.take(number, self.weights)
        if notes is not None:
            self.notes, self.number = notes, number
        return notes is not None


class RemoteLearner:
    """The parts of `learning.client.LearnerClient` that do not depend on who waits for whom.

    Args:
        processes: each with some of the tasks; waited for until all are ready.
        tasks: their names.

    Raises:
        LearnerLost: one could not be started.
    """

    def __init__(self, processes: Sequence[LearnerProcess], tasks: Sequence[str]) -> None:
        self._tasks = tuple(tasks)
        try:
            self._parts = [Part(process, process.wait_ready()) for process in processes]
        except BaseException:
            for process in processes:
                process.close(wait_s=0.0)
            raise
        self._owner = {task: part for part in self._parts for task in part.policies}
        self._added = self._asked = 0

    @property
    def pids(self) -> list[int]:
        """Process ids of the learner."""
        return [part.process.pid for part in self._parts]

    @property
    def gradient_steps(self) -> int:
        """Updates in the weights in use, over all tasks."""
        return int(self._parts[0].notes["gradient_steps"])

    @property
    def slow_because(self) -> str:
        """See `learning.learner.Learner`."""
        return self._parts[0].slow_because

    def add(self, transition: Transition) -> None:
        """Hand one transition over; see `learning.learner.Learner.add`."""
        index, count = self._index(transition.task), self._added + 1
        for part in self._parts:
            self._make_room(part.process)
            part.process.ring.write_transition(transition, index, count)
        self._added = count

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps; none is done yet."""
        self._asked += n_updates
        for part in self._parts:
            self._make_room(part.process)
            part.process.ring.write(Kind.UPDATE, count=self._asked)
            part.process.tell()
        return 0

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Move the task's multipliers."""
        index = self._index(task)
        for part in self._parts:
            self._make_room(part.process)
            part.process.ring.write(Kind.END_EPISODE, index, costs=mean_costs)
            part.process.tell()

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy on the weights in use."""
        return self._owner[self._tasks[self._index(task)]].policies[task]

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) as of the weights in use."""
        return np.array(self._owner[task].notes["tasks"][task]["lambda"], np.float64)

    def metrics(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Per task, as of the weights in use."""
        return {task: self._owner[task].notes["tasks"][task] for task in self._tasks}

    def drain(self) -> None:
        """Wait until all that was asked for is done, and use its weights."""
        self._ask("sync")

    def forget(self) -> None:
        """Forget all transitions."""
        self._ask("forget")
        self._added = 0

    def finite(self) -> bool:
        """Whether every number that acts or learns is finite."""
        return all(answer["finite"] for answer, _ in self._ask("finite"))

    def state_dict(self) -> dict[str, Any]:
        """All that evolves but the replay, after all that was asked for."""
        from safetensors.numpy import load

        answers = self._ask("state")
        scalars = [answer["scalars"] for answer, _ in answers]
        if any(other != scalars[0] for other in scalars):
            raise RuntimeError("the learner processes disagree: check this computer's RAM")
        tensors = {name: array for _, blob in answers for name, array in load(blob).items()}
        return {"tensors": tensors, "scalars": scalars[0]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            ValueError: it does not fit; nothing has changed then.
        """
        from safetensors.numpy import save

        tensors = state["tensors"].items()
        blob = save({k: np.ascontiguousarray(v).reshape(v.shape) for k, v in tensors})
        for answer, _ in self._ask("load", blob, scalars=state["scalars"]):
            if "refused" in answer:
                raise ValueError(answer["refused"])

    def close(self) -> None:
        """End the processes; safe to call twice."""
        for part in self._parts:
            part.process.hang_up()
        for part in self._parts:
            part.process.close()
            part.process.ring_memory.close()

    def _make_room(self, process: LearnerProcess) -> None:
        """Called before a message is written."""

    def _ask(
        self, question: str, blob: bytes = b"", **more: Any
    ) -> list[tuple[dict[str, Any], bytes]]:
        """Ask all processes; their answers and bytes, in their order."""
        return [part.process.ask(question, blob, **more) for part in self._parts]

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

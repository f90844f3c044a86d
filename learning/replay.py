# SPDX-License-Identifier: MIT
"""Replay buffer: a ring of transitions, each with the reward of every task.

The reward is a pure function of logged quantities, so the caller computes it for every task when
a transition arrives; any task can then learn from any transition (hindsight relabelling over
tasks, Andrychowicz et al. 2017, arXiv 1707.01495, with tasks instead of goals).

One transition is one row of one preallocated array, so sampling a batch is a single gather:

    observation | action | next observation | rewards of all tasks | costs | 1 - done

Invariant: sampling counts from the oldest transition, not from the start of the memory. So a replay
rebuilt from a journal draws the same batches as the lost one, wherever its ring begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walkhome.learning.symmetry import SignedPermutation, Symmetry
from walkhome.learning.transition import Transition

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """N transitions for one task, as float32 views of a buffer that the replay owns.

    The next `sample` of the same size overwrites them.

    Attributes:
        observation_action: (N, O + A) observations and actions side by side, the critics' input.
        observation: (N, O).
        action: (N, A) in [-1, 1].
        reward: (N,) reward of the sampled task.
        cost: (N, K) in units of the budgets.
        next_observation: (N, O).
        not_done: (N,) 1, or 0 where the episode terminated and no value is bootstrapped.
    """

    observation_action: Floats
    observation: Floats
    action: Floats
    reward: Floats
    cost: Floats
    next_observation: Floats
    not_done: Floats


class Replay:
    """A ring buffer of transitions that overwrites the oldest."""

    def __init__(
        self,
        capacity: int,
        observation_size: int,
        action_size: int,
        n_tasks: int,
        n_constraints: int,
        symmetries: Sequence[Symmetry] = (),
    ) -> None:
        """Allocate the buffer; the system provides its pages only as they fill.

        Args:
            capacity: Transitions kept.
            observation_size: O.
            action_size: A.
            n_tasks: Rewards per transition.
            n_constraints: K.
            symmetries: Reflections under which a transition stays true. With m of them, a batch
                holds m + 1 equal parts: one as recorded, and one per reflection.

        Raises:
            ValueError: A size is too small, or a symmetry does not fit the sizes.
        """
        if min(capacity, observation_size, action_size, n_tasks) < 1 or n_constraints < 0:
            raise ValueError(
                "a replay needs capacity, observation, action and task counts of at least 1, got "
                f"{capacity}, {observation_size}, {action_size}, {n_tasks} "
                f"and {n_constraints} constraints"
            )
        self.capacity = capacity
        self.observation_size = observation_size
        self.action_size = action_size
        self.n_tasks = n_tasks
        self.n_constraints = n_constraints
        sizes = (observation_size, action_size, observation_size, n_tasks, n_constraints, 1)
        ends = np.cumsum(sizes).tolist()
        starts = [0, *ends[:-1]]
        self._columns = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
        self._rows: Floats = np.zeros((capacity, ends[-1]), np.float32)
        self._mirrors = [self._row_mirror(symmetry) for symmetry in symmetries]
        self._task = np.zeros(capacity, np.int32)
        self._size = 0
        self._next = 0
        # Slots of each task, oldest first, as rings: a task's oldest slot is the one overwritten.
        self._own = np.zeros((n_tasks, capacity), np.int32)
        self._own_start = np.zeros(n_tasks, np.int64)
        self._own_size = np.zeros(n_tasks, np.int64)
        self._buffers: dict[int, Floats] = {}

    def __len__(self) -> int:
        return self._size

    def clear(self) -> None:
        """Remove all transitions from it."""
        self._size = self._next = 0
        self._own_start[:] = 0
        self._own_size[:] = 0

    def own_size(self, task: int) -> int:
        """Number of stored transitions from the task's own episodes."""
        return int(self._own_size[task])

    def add(self, transition: Transition, task: int) -> None:
        """Store one transition of experience.

        Args:
            transition: Copied; its `task` is not read.
            task: Index of the task whose episode it belongs to.

        Raises:
            ValueError: A number is not finite, an array has the wrong size, or the task is unknown;
                nothing is stored then.
        """
        if not 0 <= task < self.n_tasks:
            raise ValueError(f"task {task} is not one of the {self.n_tasks} tasks of this replay")
        o, a, n, r, c, d = self._columns
        row = np.empty(self._rows.shape[1], np.float32)
        _fill(row[o], transition.observation, "observation")
        _fill(row[a], transition.action, "action")
        _fill(row[n], transition.next_observation, "next_observation")
        _fill(row[r], transition.rewards, "rewards")
        _fill(row[c], transition.costs, "costs")
        row[d] = 0.0 if transition.done else 1.0
        slot = self._next
        if self._size == self.capacity:
            old = self._task[slot]
            self._own_start[old] = (self._own_start[old] + 1) % self.capacity
            self._own_size[old] -= 1
        else:
            self._size += 1
        self._rows[slot] = row
        self._append_own(slot, task)
        self._next = (slot + 1) % self.capacity

    def sample(self, rng: np.random.Generator, batch_size: int, task: int, only_own: bool) -> Batch:
        """Sample a batch uniformly, with replacement.

        Args:
            rng: Random numbers.
            batch_size: N.
            task: Index of the task whose reward the batch carries.
            only_own: Sample only from the task's own episodes.

        Returns:
            A batch in a buffer of this replay; the next call of the same size overwrites it.

        Raises:
            ValueError: There is no transition to sample.
        """
        age = self.draw(rng, batch_size, task, only_own)
        if only_own:
            slots = self._own[task].take(age + self._own_start[task], mode="wrap").astype(np.intp)
        else:
            first = self._next if self._size == self.capacity else 0
            slots = (age + first) % self.capacity
        buffer = self._buffers.get(batch_size)
        if buffer is None:
            buffer = np.empty((batch_size, self._rows.shape[1]), np.float32)
            self._buffers[batch_size] = buffer
        # mode="clip" lets NumPy write straight into `out`; the slots are in range by construction.
        np.take(self._rows, slots, axis=0, out=buffer, mode="clip")
        part = batch_size // (len(self._mirrors) + 1)
        for i, (places, signs) in enumerate(self._mirrors):
            rows = buffer[i * part : (i + 1) * part]
            np.multiply(rows[:, places], signs, out=rows)
        o, a, n, r, c, d = self._columns
        return Batch(
            observation_action=buffer[:, : a.stop],
            observation=buffer[:, o],
            action=buffer[:, a],
            reward=buffer[:, r.start + task],
            cost=buffer[:, c],
            next_observation=buffer[:, n],
            not_done=buffer[:, d.start],
        )

    def draw(
        self, rng: np.random.Generator, batch_size: int, task: int, only_own: bool
    ) -> NDArray[np.int64]:
        """The random part of `sample`: (batch_size,) indices, counted from the oldest transition.

        Called alone, it advances `rng` as `sample` does, without the cost of a batch.

        Raises:
            ValueError: There is no transition to sample.
        """
        available = int(self._own_size[task]) if only_own else self._size
        if available == 0:
            raise ValueError(f"no transition to sample for task {task}: add some first")
        return rng.integers(0, available, batch_size)

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """The stored transitions, oldest first: `rows` (size, columns), `task` (size,)."""
        first = self._next if self._size == self.capacity else 0
        slots = (np.arange(self._size) + first) % self.capacity
        return {"rows": self._rows[slots], "task": self._task[slots]}

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Replace the content by that of `state_dict`.

        Raises:
            ValueError: The state does not fit this replay, or holds numbers that are not finite.
        """
        rows, task = np.asarray(state["rows"]), np.asarray(state["task"])
        if rows.ndim != 2 or rows.shape[1] != self._rows.shape[1] or rows.dtype != np.float32:
            raise ValueError(
                f"replay rows are {rows.dtype} {rows.shape}, "
                f"this replay has float32 rows of {self._rows.shape[1]}"
            )
        if task.shape != (len(rows),) or len(rows) > self.capacity:
            raise ValueError(
                f"replay has {len(rows)} rows and {task.shape} task numbers, "
                f"capacity {self.capacity}"
            )
        if not np.isfinite(rows).all():
            raise ValueError("replay rows hold non-finite numbers")
        if len(task) and not ((task >= 0) & (task < self.n_tasks)).all():
            raise ValueError(f"replay names tasks beyond the {self.n_tasks} known")
        self._size = len(rows)
        self._next = self._size % self.capacity
        self._rows[: self._size] = rows
        self._own_start[:] = 0
        self._own_size[:] = 0
        for slot in range(self._size):
            self._append_own(slot, int(task[slot]))

    def _row_mirror(self, symmetry: Symmetry) -> tuple[NDArray[np.intp], Floats]:
        """(W,) positions and signs that mirror a whole row."""
        whole = SignedPermutation.joined(
            [
                symmetry.observation,
                symmetry.action,
                symmetry.observation,
                symmetry.rewards,
                SignedPermutation.identity(self.n_constraints + 1),
            ]
        )
        if len(whole.places) != self._rows.shape[1]:
            raise ValueError(
                f"a symmetry of {len(whole.places)} numbers does not fit rows of "
                f"{self._rows.shape[1]}"
            )
        return np.array(whole.places, np.intp), np.array(whole.signs, np.float32)

    def _append_own(self, slot: int, task: int) -> None:
        end = (self._own_start[task] + self._own_size[task]) % self.capacity
        self._own[task, end] = slot
        self._own_size[task] += 1
        self._task[slot] = task


def _fill(target: Floats, value: ArrayLike, name: str) -> None:
    array = np.asarray(value)
    if array.shape != target.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {target.shape}")
    target[:] = array
    if not np.isfinite(target).all():
        raise ValueError(f"{name} holds a number that is not finite: {array}")

# SPDX-License-Identifier: MIT
"""Transitions on their way to the learner: a ring of fixed-size messages in shared memory.

    written | consumed | progress | row | row | ...      row = crc | number | kind | ... | values

One process writes and one reads, without locks. The writer never waits: it overwrites the oldest
row. The reader detects an overwritten or torn row by its number and CRC-32, and counts it in
`lost`. A writer that must lose nothing checks `room` first.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walkhome.learning.remote.shared_memory import Bytes
from walkhome.learning.transition import Transition

HEADER_BYTES = 64
_WRITTEN, _CONSUMED, _PROGRESS = range(3)


class MessageKind(IntEnum):
    """What a message asks the learner to do; the values are those in the row's `kind`."""

    ADD = 1
    UPDATE = 2
    END_EPISODE = 3


@dataclass(frozen=True)
class TransitionSizes:
    """TransitionSizes of the arrays of a transition.

    Attributes:
        observation: O.
        action: A.
        tasks: Rewards, one per task.
        constraints: K costs, one per constraint.
    """

    observation: int
    action: int
    tasks: int
    constraints: int


@dataclass(frozen=True)
class RingMessage:
    """One message. Its arrays belong to the reader, and are valid until its next `read`.

    Attributes:
        number: Number of messages written before it.
        kind: What to do.
        task: Index of the task that acted (ADD) or whose episode ended (END_EPISODE).
        count: Transitions so far (ADD), gradient steps asked for so far (UPDATE).
        done: See `Transition`, likewise the arrays of ADD.
        observation: (O,) float32.
        action: (A,) float32.
        rewards: (n_tasks,) float32.
        next_observation: (O,) float32.
        costs: (K,) float64; mean costs per step for END_EPISODE.
    """

    number: int
    kind: MessageKind
    task: int
    count: int
    done: bool
    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observation: NDArray[np.float32]
    costs: NDArray[np.float64]

    def transition(self, task: str) -> Transition:
        """What an ADD message carries, on the message's own arrays.

        Args:
            task: Name of the task that acted.
        """
        return Transition(
            self.observation,
            self.action,
            self.rewards,
            self.costs,
            self.next_observation,
            self.done,
            task,
        )


def ring_bytes(sizes: TransitionSizes, rows: int) -> int:
    """Size in bytes of the memory for a ring of `rows` messages."""
    return HEADER_BYTES + rows * _row_type(sizes).itemsize


class TransitionRing:
    """One side of the ring: write in one process, read in one other.

    Args:
        memory: (`ring_bytes`,) uint8, zeroed before its first use.
        sizes: TransitionSizes of a transition, the same on both sides.
        rows: Messages that it holds, the same on both sides.

    Attributes:
        lost: Messages that were overwritten or damaged before this reader read them.
    """

    def __init__(self, memory: Bytes, sizes: TransitionSizes, rows: int) -> None:
        row_type = _row_type(sizes)
        self.capacity = rows
        self.lost = 0
        self._header = memory[:HEADER_BYTES].view(np.uint64)
        self._bytes = memory[HEADER_BYTES:].reshape(rows, row_type.itemsize)
        self._rows = memory[HEADER_BYTES:].view(row_type)
        names = row_type.names or ()
        self._columns = {name: self._rows[name] for name in names}
        o, a, t = sizes.observation, sizes.action, sizes.tasks
        ends = np.cumsum([0, o, a, o, t]).tolist()
        self._parts = [slice(i, j) for i, j in pairwise(ends)]
        self._copy = np.zeros(1, row_type)
        self._next = 0

    @property
    def written(self) -> int:
        """Messages written so far."""
        return int(self._header[_WRITTEN])

    @property
    def consumed(self) -> int:
        """Messages that the reader has handled."""
        return int(self._header[_CONSUMED])

    @property
    def room(self) -> int:
        """Messages that can be written before an unread one is overwritten."""
        return self.capacity - (self.written - self.consumed)

    @property
    def progress(self) -> int:
        """Counter of the reader's work; if it stands still, the reader hangs."""
        return int(self._header[_PROGRESS])

    def made_progress(self) -> None:
        """Reader: count one more piece of work in `progress`."""
        self._header[_PROGRESS] += np.uint64(1)

    def start_reading(self, at: int) -> None:
        """Reader: continue with message number `at`."""
        self._next = at
        self._header[_CONSUMED] = at

    def write(
        self,
        kind: MessageKind,
        task: int = 0,
        count: int = 0,
        costs: ArrayLike = 0.0,
    ) -> None:
        """Append a message without a transition.

        Args:
            kind: UPDATE or END_EPISODE.
            task: Index of the task that acted.
            count: Gradient steps asked for so far (UPDATE).
            costs: (K,) mean costs per step (END_EPISODE).
        """
        slot = self.written % self.capacity
        self._columns["costs"][slot] = costs
        self._finish_row(slot, kind, task, count, False)

    def write_transition(self, transition: Transition, task: int, count: int) -> None:
        """Append an ADD message.

        Args:
            transition: Copied; its `task` is not read.
            task: Index of the task that acted.
            count: Transitions so far, this one included.

        Raises:
            ValueError: A number is not finite, or an array has the wrong size; nothing was
                written.
        """
        slot = self.written % self.capacity
        self._put(self._columns["values"][slot], self._columns["costs"][slot], transition)
        self._finish_row(slot, MessageKind.ADD, task, count, transition.done)

    def _finish_row(self, slot: int, kind: MessageKind, task: int, count: int, done: bool) -> None:
        """Fill in the rest of a row whose values are there, and publish it."""
        number, columns = self.written, self._columns
        columns["number"][slot] = number
        columns["kind"][slot] = kind
        columns["task"][slot] = task
        columns["count"][slot] = count
        columns["done"][slot] = done
        columns["crc"][slot] = zlib.crc32(self._bytes[slot, 8:].data)
        # Publish the row last. x86 keeps the order of stores; elsewhere the CRC detects a torn row.
        self._header[_WRITTEN] = number + 1

    def _put(
        self,
        values: NDArray[np.float32],
        cost_values: NDArray[np.float64],
        transition: Transition,
    ) -> None:
        t = transition
        arrays = (t.observation, t.action, t.next_observation, t.rewards)
        for part, value in zip(self._parts, arrays, strict=True):
            array = np.asarray(value)
            if array.shape != values[part].shape:
                raise ValueError(f"a part of a transition has shape {array.shape}")
            values[part] = array
        cost_values[:] = t.costs
        if not (np.isfinite(values).all() and np.isfinite(cost_values).all()):
            raise ValueError(f"a transition holds a number that is not finite: {transition}")

    def read(self) -> RingMessage | None:
        """Reader: the next message, or None if there is none yet.

        Overwritten and damaged messages are skipped and counted in `lost`.
        """
        while True:
            written = self.written
            if self._next >= written:
                return None
            oldest = written - self.capacity
            if self._next < oldest:
                self.lost += oldest - self._next
                self._next = oldest
            slot = self._next % self.capacity
            self._copy[0] = self._rows[slot]
            row = self._copy[0]
            whole = int(row["crc"]) == zlib.crc32(self._copy.view(np.uint8)[8:].data)
            good = whole and int(row["number"]) == self._next
            self._next += 1
            if good:
                return self._message(row)
            self.lost += 1

    def done_reading(self) -> None:
        """Reader: mark all messages read so far as handled, which makes room for new ones."""
        self._header[_CONSUMED] = self._next

    def _message(self, row: np.void) -> RingMessage:
        o, a, n, r = self._parts
        values = row["values"]
        return RingMessage(
            int(row["number"]),
            MessageKind(int(row["kind"])),
            int(row["task"]),
            int(row["count"]),
            bool(row["done"]),
            values[o],
            values[a],
            values[r],
            values[n],
            row["costs"],
        )


def _row_type(sizes: TransitionSizes) -> np.dtype[np.void]:
    width = 2 * sizes.observation + sizes.action + sizes.tasks
    fields = [
        ("crc", "<u4"),
        ("_", "<u4"),
        ("number", "<u8"),
        ("count", "<u8"),
        ("kind", "<u4"),
        ("task", "<i4"),
        ("done", "<u8"),
        ("costs", "<f8", (sizes.constraints,)),
        ("values", "<f4", (width + width % 2,)),
    ]
    return np.dtype(fields)

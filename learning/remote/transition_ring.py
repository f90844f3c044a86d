# SPDX-License-Identifier: MIT
"""Experience on its way to the learner: fixed-size messages in a ring of shared memory.

One process writes, one reads, nobody locks. The writer never waits: it overwrites the oldest row. A
reader that was overtaken sees it by the row's number and CRC-32, and counts what it lost. Whoever
must lose nothing asks for `room` first.

    head | consumed | progress | row | row | ...      row = crc | number | kind | ... | values
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
_HEAD, _CONSUMED, _PROGRESS = range(3)


class Kind(IntEnum):
    """What a message says."""

    ADD = 1
    UPDATE = 2
    END_EPISODE = 3


@dataclass(frozen=True)
class Sizes:
    """What a transition consists of.

    Attributes:
        observation: numbers.
        action: numbers.
        tasks: rewards.
        constraints: costs.
    """

    observation: int
    action: int
    tasks: int
    constraints: int


@dataclass(frozen=True)
class Message:
    """One message; its arrays are the reader's own, good until it reads the next.

    Attributes:
        number: messages before it.
        kind: what it says.
        task: index of the task that acted.
        count: transitions so far (ADD), gradient steps asked for so far (UPDATE).
        done: a fall.
        observation: (O,) float32.
        action: (A,) float32.
        rewards: (n_tasks,) float32.
        next_observation: (O,) float32.
        costs: (K,) float64.
    """

    number: int
    kind: Kind
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


def ring_bytes(sizes: Sizes, rows: int) -> int:
    """How much memory a ring needs."""
    return HEADER_BYTES + rows * _row_type(sizes).itemsize


class Ring:
    """One side of the ring; use `write` in one process and `read` in one other.

    Args:
        memory: (`ring_bytes`,), zeroed before its first use.
        sizes: of a transition.
        rows: messages that it holds.

    Attributes:
        lost: messages that were overwritten before this reader came to them.
    """

    def __init__(self, memory: Bytes, sizes: Sizes, rows: int) -> None:
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
        """Messages so far."""
        return int(self._header[_HEAD])

    @property
    def consumed(self) -> int:
        """Messages that the reader has dealt with."""
        return int(self._header[_CONSUMED])

    @property
    def room(self) -> int:
        """Messages that can be written before one is lost."""
        return self.capacity - (self.written - self.consumed)

    @property
    def progress(self) -> int:
        """Counts whatever the reader gets done; one that stands still hangs."""
        return int(self._header[_PROGRESS])

    def made_progress(self) -> None:
        """Reader: say that something got done."""
        self._header[_PROGRESS] += np.uint64(1)

    def start_reading(self, at: int) -> None:
        """Reader: go on from message number `at`."""
        self._next = at
        self._header[_CONSUMED] = at

    def write(
        self,
        kind: Kind,
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
        self._finish_row(slot, Kind.ADD, task, count, transition.done)

    def _finish_row(self, slot: int, kind: Kind, task: int, count: int, done: bool) -> None:
        """Fill in the rest of a row whose values are there, and publish it."""
        number, columns = self.written, self._columns
        columns["number"][slot] = number
        columns["kind"][slot] = kind
        columns["task"][slot] = task
        columns["count"][slot] = count
        columns["done"][slot] = done
        columns["crc"][slot] = zlib.crc32(self._bytes[slot, 8:].data)
        # The row is whole before it counts: x86 keeps the order of stores, the CRC guards the rest.
        self._header[_HEAD] = number + 1

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

    def read(self) -> Message | None:
        """Reader: the next message; None when there is none.

        Messages that were overwritten are counted in `lost` and passed over.
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
        """Reader: everything that was read has been dealt with."""
        self._header[_CONSUMED] = self._next

    def _message(self, row: np.void) -> Message:
        o, a, n, r = self._parts
        values = row["values"]
        return Message(
            int(row["number"]),
            Kind(int(row["kind"])),
            int(row["task"]),
            int(row["count"]),
            bool(row["done"]),
            values[o],
            values[a],
            values[r],
            values[n],
            row["costs"],
        )


def _row_type(sizes: Sizes) -> np.dtype[np.void]:
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

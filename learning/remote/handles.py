# SPDX-License-Identifier: MIT
"""What the control process and its learner process share, as one line of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Wiring:
    """What the two processes share, as numbers that fit on a command line.

    Attributes:
        socket: descriptor of the channel's end.
        ring: descriptor of the ring's memory.
        snapshots: descriptor of the snapshots' memory, still empty.
        told: descriptor of the event that says: there is something to do.
        done: descriptor of the event that says: there is a new snapshot.
        rows: messages in the ring.
        slots: snapshots.
        publish_every: update messages between two snapshots; 0 is a free learner.
        parent: process id of the control process.
    """

    socket: int
    ring: int
    snapshots: int
    told: int
    done: int
    rows: int
    slots: int
    publish_every: int
    parent: int

    def arguments(self) -> list[str]:
        """For a command line."""
        return [str(value) for value in asdict(self).values()]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Wiring:
        """From `arguments`."""
        return cls(*(int(text) for text in arguments))

    def descriptors(self) -> tuple[int, ...]:
        """Those that the other process must inherit."""
        return (self.socket, self.ring, self.snapshots, self.told, self.done)

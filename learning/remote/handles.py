# SPDX-License-Identifier: MIT
"""What the control process and its learner process share, as integers for a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SharedHandles:
    """File descriptors and sizes of everything that the two processes share.

    Attributes:
        socket: Descriptor of the learner's end of the channel.
        ring: Descriptor of the transition ring's memory.
        snapshots: Descriptor of the weight snapshots' memory, empty until the learner sizes it.
        wake: Descriptor of the event that wakes the learner up: there are new messages.
        published: Descriptor of the event that announces a new snapshot.
        rows: Messages that the ring holds.
        slots: Snapshots that the snapshots' memory holds.
        publish_every: Update messages between two snapshots; 0 for an asynchronous learner.
        parent: Process id of the control process.
    """

    socket: int
    ring: int
    snapshots: int
    wake: int
    published: int
    rows: int
    slots: int
    publish_every: int
    parent: int

    def arguments(self) -> list[str]:
        """Command-line arguments that `parse` reads back."""
        return [str(value) for value in asdict(self).values()]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> SharedHandles:
        """The handles from the command-line arguments that `arguments` made."""
        return cls(*(int(text) for text in arguments))

    def descriptors(self) -> tuple[int, ...]:
        """The file descriptors that the learner process must inherit."""
        return (self.socket, self.ring, self.snapshots, self.wake, self.published)

# SPDX-License-Identifier: MIT
"""Policy weights on their way back to the control process: numbered snapshots in shared memory.

    latest | slot | slot | ...        slot = number | crc | length of notes | notes | weights

One process publishes and one takes, without locks. Snapshots are numbered from 1 and reuse the
slots in turn. The taker copies a snapshot before it checks it: the number must not have changed,
the CRC-32 over notes and weights must match, and every weight must be finite. So a torn snapshot
is never used.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkhome.learning.remote.shared_memory import Bytes

Floats = NDArray[np.float32]

NOTES_BYTES = 16 * 1024
_HEADER_BYTES = 64
_SLOT_HEADER_BYTES = 24
_NUMBER, _CRC, _LENGTH = range(3)


def snapshot_bytes(weights: int, slots: int) -> int:
    """Size in bytes of the memory for `slots` snapshots of `weights` float32 numbers."""
    return _HEADER_BYTES + slots * _slot_bytes(weights)


class WeightSnapshots:
    """One side of the snapshots: publish in one process, take in one other.

    Args:
        memory: (`snapshot_bytes`,) uint8, zeroed before its first use.
        weights: Float32 numbers in a snapshot, the same on both sides.
        slots: Snapshots that the memory holds, the same on both sides.

    Attributes:
        torn: Snapshots that `take` rejected because they were damaged.
    """

    def __init__(self, memory: Bytes, weights: int, slots: int) -> None:
        self.slots = slots
        self.torn = 0
        self._latest = memory[:8].view(np.uint64)
        rows = memory[_HEADER_BYTES:].reshape(slots, _slot_bytes(weights))
        notes_end = _SLOT_HEADER_BYTES + NOTES_BYTES
        self._headers = [row[:_SLOT_HEADER_BYTES].view(np.uint64) for row in rows]
        self._notes = [row[_SLOT_HEADER_BYTES:notes_end] for row in rows]
        self._weights = [row[notes_end : notes_end + 4 * weights].view(np.float32) for row in rows]
        self._copy = np.zeros(weights, np.float32)

    @property
    def latest(self) -> int:
        """Number of the newest snapshot; 0 if there is none yet."""
        return int(self._latest[0])

    def publish(self, weights: Sequence[Floats], notes: Mapping[str, Any]) -> int:
        """Publish the next snapshot.

        Args:
            weights: Arrays of any shapes, `weights` numbers in total; copied one after another.
            notes: JSON-able, at most `NOTES_BYTES` as JSON.

        Returns:
            The snapshot's number.

        Raises:
            ValueError: The notes are too long.
        """
        text = json.dumps(notes).encode()
        if len(text) > NOTES_BYTES:
            raise ValueError(f"{len(text)} bytes of notes do not fit into {NOTES_BYTES}")
        number = self.latest + 1
        slot = number % self.slots
        header, target = self._headers[slot], self._weights[slot]
        header[_NUMBER] = 0  # so that it cannot be taken while it changes
        self._notes[slot][: len(text)] = np.frombuffer(text, np.uint8)
        start = 0
        for array in weights:
            target[start : start + array.size] = array.ravel()
            start += array.size
        header[_LENGTH] = len(text)
        header[_CRC] = zlib.crc32(target.view(np.uint8).data, zlib.crc32(text))
        header[_NUMBER] = number
        self._latest[0] = number
        return number

    def take(self, number: int, weights: Floats) -> dict[str, Any] | None:
        """Copy a snapshot if it is still there and undamaged.

        Args:
            number: Number of the snapshot.
            weights: (n,) float32 destination; unchanged if the snapshot can't be used.

        Returns:
            Its notes; None if it has been overwritten or is damaged.

        Raises:
            FloatingPointError: A weight is not finite.
        """
        slot = number % self.slots
        header = self._headers[slot]
        if number < 1 or int(header[_NUMBER]) != number:
            return None
        np.copyto(self._copy, self._weights[slot])
        text = self._notes[slot][: min(int(header[_LENGTH]), NOTES_BYTES)].tobytes()
        crc, still = int(header[_CRC]), int(header[_NUMBER])
        whole = still == number and crc == zlib.crc32(
            self._copy.view(np.uint8).data, zlib.crc32(text)
        )
        if not whole:
            self.torn += 1
            return None
        # A sum is finite only if all terms are; in float64 no sum of float32 overflows.
        if not math.isfinite(float(self._copy.sum(dtype=np.float64))):
            raise FloatingPointError("the learner diverged: a weight is not finite")
        notes: dict[str, Any] = json.loads(text)
        np.copyto(weights, self._copy)
        return notes


def _slot_bytes(weights: int) -> int:
    size = _SLOT_HEADER_BYTES + NOTES_BYTES + 4 * weights
    return (size + 63) // 64 * 64

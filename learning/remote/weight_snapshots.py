# SPDX-License-Identifier: MIT
"""Weights on their way back: whole, checked snapshots in shared memory.

    latest | slot | slot | ...        slot = number | crc | length of notes | notes | weights

One process publishes, one takes. Snapshots are numbered from 1 and go round the slots. The taker
copies first and believes after: the number must not have changed and the CRC-32 over notes and
weights must fit, so a torn one is never used, and neither is one with a number that is not finite.
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
    """How much memory so many slots for so many weights need."""
    return _HEADER_BYTES + slots * _slot_bytes(weights)


class Snapshots:
    """Both sides of it.

    Args:
        memory: (`snapshot_bytes`,), zeroed before its first use.
        weights: float32 numbers in a snapshot.
        slots: snapshots that are there at a time.

    Attributes:
        torn: snapshots that were taken and thrown away.
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
        """Number of the newest one; 0 for none."""
        return int(self._latest[0])

    def publish(self, weights: Sequence[Floats], notes: Mapping[str, Any]) -> int:
        """Publish the next snapshot.

        Args:
            weights: arrays of any shape, one after the other.
            notes: JSON-able, small.

        Returns:
            Its number.

        Raises:
            ValueError: the notes are too long.
        """
        text = json.dumps(notes).encode()
        if len(text) > NOTES_BYTES:
            raise ValueError(f"{len(text)} bytes of notes do not fit into {NOTES_BYTES}")
        number = self.latest + 1
        slot = number % self.slots
        header, target = self._headers[slot], self._weights[slot]
        header[_NUMBER] = 0  # nobody takes it while it changes
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
        """Copy a snapshot if it is whole.

        Args:
            number: which.
            weights: (weights,) where to; unchanged if it can't be used.

        Returns:
            Its notes; None if it is not there any more, or torn.

        Raises:
            FloatingPointError: a weight is not finite.
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

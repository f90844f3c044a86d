# SPDX-License-Identifier: MIT
"""Memory that two processes share and that has no name: it is gone when both are, however they end.

A name under /dev/shm would outlive a killed process; a descriptor that is passed on does not.
"""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class SharedMemory:
    """A block of anonymous memory, zeroed at first.

    Args:
        descriptor: of a block that another process made; a new one when None.
        size_bytes: of a new one; what an empty one is made to have.

    Attributes:
        descriptor: to pass on to the other process.
        data: (size,) uint8, the memory itself.

    Raises:
        OSError: there is no such memory here (Linux has it), or not so much of it.
    """

    def __init__(self, descriptor: int | None = None, size_bytes: int = 0) -> None:
        self.descriptor = make_descriptor() if descriptor is None else descriptor
        if size_bytes:
            os.ftruncate(self.descriptor, size_bytes)
        size = os.fstat(self.descriptor).st_size
        self._map = mmap.mmap(self.descriptor, size)
        self.data: Bytes = np.frombuffer(self._map, np.uint8)

    def close(self) -> None:
        """Give the descriptor back; arrays on the memory stay valid while somebody holds them."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def make_descriptor() -> int:
    """An empty block, for `SharedMemory` to give a size to.

    Raises:
        OSError: this system has no anonymous shared memory.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no memfd_create: set learning.process=inline")
    return os.memfd_create("walkhome")

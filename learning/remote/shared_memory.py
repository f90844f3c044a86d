# SPDX-License-Identifier: MIT
"""Anonymous memory that two processes share.

A named block under /dev/shm would outlive a killed process. This memory has only file descriptors
(memfd_create(2)): the kernel frees it when both processes are gone, however they end.
"""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class SharedMemory:
    """A block of anonymous memory, zeroed when it is created.

    Args:
        descriptor: Descriptor of a block that another process made; None creates a new block.
        size_bytes: Size of a new or still empty block; 0 keeps the size of an existing one.

    Attributes:
        descriptor: To pass on to the other process; owned by this object.
        data: (size_bytes,) uint8, the memory itself.

    Raises:
        OSError: This system has no anonymous shared memory (Linux has it), or not enough of it.
    """

    def __init__(self, descriptor: int | None = None, size_bytes: int = 0) -> None:
        self.descriptor = make_descriptor() if descriptor is None else descriptor
        if size_bytes:
            os.ftruncate(self.descriptor, size_bytes)
        size = os.fstat(self.descriptor).st_size
        self._map = mmap.mmap(self.descriptor, size)
        self.data: Bytes = np.frombuffer(self._map, np.uint8)

    def close(self) -> None:
        """Close the descriptor; the mapping stays until no array refers to it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def make_descriptor() -> int:
    """Create an empty block of memory, which `SharedMemory` then gives a size.

    Returns:
        Its file descriptor.

    Raises:
        OSError: This system has no anonymous shared memory.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no memfd_create: set learning.process=inline")
    return os.memfd_create("walkhome")

# SPDX-License-Identifier: MIT
"""Questions and answers between the control process and the learner: JSON and bytes on a socket.

For what is rare and large (a state to save, a state to load). The end of either process ends the
channel, which the other one sees at once.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Mapping
from typing import Any

_PREFIX = struct.Struct("<IQ")
_CHUNK_BYTES = 1 << 20


class ChannelClosed(EOFError):  # noqa: N818 - says what happened
    """The other process is gone."""


class Channel:
    """One end.

    Args:
        end: a connected stream socket; belongs to the channel from now on.
        timeout_s: a message that stops in its middle for so long counts as the end; None for never.
    """

    def __init__(self, end: socket.socket, timeout_s: float | None = None) -> None:
        self._socket = end
        end.settimeout(timeout_s)

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def ready(self, timeout_s: float) -> bool:
        """Whether something can be received within so long (or the other end is gone)."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def send(self, value: Mapping[str, Any], blob: bytes = b"") -> None:
        """Send one message.

        Raises:
            ChannelClosed: the other process is gone.
        """
        text = json.dumps(value).encode()
        try:
            self._socket.sendall(_PREFIX.pack(len(text), len(blob)) + text)
            self._socket.sendall(blob)
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next message; waits for it.

        Raises:
            ChannelClosed: the other process is gone.
        """
        text_bytes, blob_bytes = _PREFIX.unpack(self._exactly(_PREFIX.size))
        value: dict[str, Any] = json.loads(self._exactly(text_bytes))
        return value, self._exactly(blob_bytes)

    def close(self) -> None:
        """Hang up; safe to call twice."""
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._socket.recv(min(_CHUNK_BYTES, size - len(data)))
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if not part:
                raise ChannelClosed("the other process ended")
            data += part
        return bytes(data)

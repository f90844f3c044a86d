# SPDX-License-Identifier: MIT
"""Requests and replies between the control process and the learner: JSON and bytes on a socket.

    send({...}, blob) --> one JSON frame, one bytes frame --> receive() -> ({...}, blob)

For what is rare or large (a state to save, a state to load). The frames are those of
`multiprocessing.connection`; only its `send_bytes` and `recv_bytes` are used, so nothing is ever
pickled. When either process ends, its end of the socket closes and the other process gets
`ChannelClosed`.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any


class ChannelClosed(EOFError):  # noqa: N818 - says what happened
    """The other process ended, or stopped in the middle of a message for too long."""


class Channel:
    """One end of a channel.

    Args:
        end: A connected stream socket, which the channel takes over and closes.
        timeout_s: A message that makes no progress for this long counts as the end of the other
            process; None waits forever.
    """

    def __init__(self, end: socket.socket, timeout_s: float | None = None) -> None:
        if timeout_s is not None:
            # `Connection` has no time-outs; the kernel's make its read and write fail (socket(7)).
            seconds = int(timeout_s)
            timeval = struct.pack("@ll", seconds, int(1e6 * (timeout_s - seconds)))
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._connection: Connection[Any, Any] = Connection(end.detach())

    def fileno(self) -> int:
        """The descriptor to poll for `POLLIN`; belongs to the channel."""
        return self._connection.fileno()

    def ready(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for a message; True also when the other end is closed."""
        return self._connection.poll(timeout_s)

    def send(self, value: Mapping[str, Any], blob: bytes = b"") -> None:
        """Send one message; blocks while the socket's buffer is full.

        Args:
            value: JSON-able.
            blob: Raw bytes sent with it.

        Raises:
            ChannelClosed: The other process ended, or read nothing for the time-out.
        """
        try:
            self._connection.send_bytes(json.dumps(value).encode())
            self._connection.send_bytes(blob)
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Wait for the next message and return its JSON object and its bytes.

        Raises:
            ChannelClosed: The other process ended, or sent nothing for the time-out.
        """
        try:
            value: dict[str, Any] = json.loads(self._connection.recv_bytes())
            return value, self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise ChannelClosed(str(error) or "the other process ended") from None

    def close(self) -> None:
        """Close this end; safe to call twice."""
        self._connection.close()

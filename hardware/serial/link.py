# SPDX-License-Identifier: MIT
"""A serial port that never blocks, never sends stale commands, and fails in one way: `LinkLost`.

pyserial opens and configures the port. Reading and writing use the file descriptor directly,
because pyserial's write spins or hangs on a full buffer and its errors come in four unrelated
classes. A frame that is partly written is always completed; of the frames that wait behind it only
the newest is kept, because a delayed command is a wrong command.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import termios
from array import array
from collections.abc import Iterator
from pathlib import Path

import serial

from walkhome.hardware.robot import LinkLost, RobotError
from walkhome.hardware.serial.protocol import Decoder, Frame

READ_BYTES = 4096
BY_ID = Path("/dev/serial/by-id")
# Errors of system calls on a port that has gone; termios.error is not an OSError.
_PORT_ERRORS = (OSError, termios.error, serial.SerialException)


class PortRefused(RobotError):  # noqa: N818 - says what happened
    """The port can't be opened; the message says why and what to do."""


class SerialLink:
    """Sends and receives frames over a serial port.

    Args:
        port: device file; a by-id name survives replugging.
        baud: bits per second.

    Attributes:
        port: as given.
        low_latency: whether the driver passes bytes on at once (FTDI: after 1 ms, not 16).
        dropped: number of frames that a newer one replaced before they were sent.
        received_bytes: number of bytes received, in frames or not.

    Raises:
        PortRefused: the port can't be opened.
    """

    def __init__(self, port: str, baud: int = 921_600) -> None:
        self.port = port
        self.dropped = 0
        self.received_bytes = 0
        self._decoder = Decoder()
        self._sending = b""  # rest of a partly written frame
        self._waiting: bytes | None = None  # the newest frame behind it
        self._serial = _open(port, baud)
        self._fd = int(self._serial.fileno())
        os.set_blocking(self._fd, False)
        self.low_latency = _set_low_latency(self._serial)

    @property
    def damaged(self) -> int:
        """Number of received pieces that were not valid frames."""
        return self._decoder.damaged

    def fileno(self) -> int:
        """File descriptor of the port, e.g. for select."""
        return self._fd

    def read(self) -> Iterator[Frame]:
        """Yield the frames that have arrived; does not wait.

        Raises:
            LinkLost: the port is gone.
        """
        while self._arrived():
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            except _PORT_ERRORS as error:
                raise self._lost(error) from None
            if not data:
                raise self._lost(None)
            self.received_bytes += len(data)
            yield from self._decoder.feed(data)

    def _arrived(self) -> int:
        """Number of bytes that can be read, by FIONREAD, which never waits.

        select and an empty read make Linux wait for a kernel worker of ordinary priority first: on
        a busy machine they blocked a control thread for 20 ms.
        """
        count = array("i", [0])
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, count)
        except _PORT_ERRORS as error:
            raise self._lost(error) from None
        return count[0]

    def send(self, frame: bytes, urgent: bool = False) -> bool:
        """Send a frame, or as much of it as the port accepts now; does not wait.

        Args:
            frame: complete frame including its delimiter.
            urgent: send it at once, for stops: a delimiter ends a partly written frame, which is
                lost.

        Returns:
            Whether the system has accepted the whole frame.

        Raises:
            LinkLost: the port is gone.
        """
        if urgent and self._sending:
            self._sending, frame = b"", b"\0" + frame
            self.dropped += 1
        if self._waiting is not None:
            self.dropped += 1
        self._waiting = frame
        return self.flush()

    def flush(self) -> bool:
        """Continue writing; return whether the system has accepted everything.

        Raises:
            LinkLost: the port is gone.
        """
        while self._sending or self._waiting is not None:
            if not self._sending:
                self._sending, self._waiting = self._waiting or b"", None
            try:
                count = os.write(self._fd, self._sending)
            except BlockingIOError:
                return False
            except _PORT_ERRORS as error:
                raise self._lost(error) from None
            self._sending = self._sending[count:]
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until something arrives, at most `timeout_s`; return whether it did.

        Raises:
            LinkLost: the port is gone.
        """
        try:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, timeout_s))
        except _PORT_ERRORS as error:
            raise self._lost(error) from None
        return bool(ready)

    def close(self) -> None:
        """Close the port; safe to call twice, and on a port that is gone."""
        with contextlib.suppress(*_PORT_ERRORS):
            self._serial.close()

    def __enter__(self) -> SerialLink:
        """Return the link; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        self.close()

    def _lost(self, error: BaseException | None) -> LinkLost:
        why = "the other side hung up" if error is None else str(error)
        return LinkLost(f"{self.port}: link lost ({why}); check cable and power")


def stable_name(port: str, by_id: Path = BY_ID) -> str:
    """The by-id name of a port, which survives replugging; the port itself if it has none."""
    target = Path(port).resolve()
    if by_id.is_dir():
        for link in sorted(by_id.iterdir()):
            if link.resolve() == target:
                return str(link)
    return port


def _open(port: str, baud: int) -> serial.Serial:
    try:
        return serial.Serial(port, baud, timeout=0, exclusive=True)
    except ValueError as error:
        raise PortRefused(f"{port}: {error}; choose another --baud") from None
    except _PORT_ERRORS as error:
        raise PortRefused(f"{port}: {_why_refused(port, error)}") from None


def _why_refused(port: str, error: BaseException) -> str:
    number = _errno(error)
    if number == errno.ENOENT:
        return "no such port; `ls /dev/serial/by-id` shows what is plugged in"
    if number == errno.EACCES:
        return (
            "no permission to open it; add yourself to its group (often dialout), then log in again"
        )
    if number in (errno.EAGAIN, errno.EBUSY) or "lock" in str(error):
        return "in use by another process; end that process first"
    if number in (errno.ENOTTY, errno.EINVAL):
        return "not a serial port"
    return f"can't be opened: {error}"


def _errno(error: BaseException | None) -> int | None:
    """The errno; pyserial wraps termios.error, which is not an OSError, in text."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return None


def _set_low_latency(port: serial.Serial) -> bool:
    try:
        port.set_low_latency_mode(True)
    except (AttributeError, NotImplementedError, ValueError, *_PORT_ERRORS):
        return False  # a pseudo-terminal or CDC device has no such mode and no delay
    return True

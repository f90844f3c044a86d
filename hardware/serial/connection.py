# SPDX-License-Identifier: MIT
"""Connection to one board: handshake, frames in and out, requests and their answers.

Functions here may wait for an answer, at most a second; the control path in `hardware.serial.board`
uses only those that don't. The session number lives as long as the program, so that a board that
was unplugged for a moment recognises the host.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import LinkLost, RobotError, RobotState, RobotStopped
from walkhome.hardware.serial.handshake import (
    BoardIdentity,
    BoardRefused,
    checked_identity,
)
from walkhome.hardware.serial.link import SerialLink
from walkhome.hardware.serial.protocol import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    SCHEMA_HASH,
    AckCode,
    Frame,
    MessageType,
    encode,
    fields_of,
)
from walkhome.hardware.serial.telemetry import BoardStatus, Telemetry
from walkhome.hardware.serial.wiring import Wiring

FloatArray = npt.NDArray[np.float64]

ANSWER_S = 0.25
"""Time limit of an answer: a board takes a few milliseconds, an FTDI adapter adds up to 16."""
TRIES = 4
_COUNTS = ("fresh", "lost", "stale", "damaged", "implausible")


class BoardConnection:
    """Connection to one board.

    Args:
        port: device file; a by-id name survives replugging.
        wiring: order, signs and zeros of the motors.
        baud: bits per second.
        clock: monotonic time, s.
        open_link: opens a port at a baud rate.

    Attributes:
        port: as given.
        telemetry: decoded telemetry and its statistics.
        identity: identity of the board; None before the first handshake.
        listeners: functions that are called with every new plausible state.
        round_trip_s: time from the newest confirmed command to its confirmation, s.
    """

    def __init__(
        self,
        port: str,
        wiring: Wiring,
        baud: int = 921_600,
        clock: Callable[[], float] = time.monotonic,
        open_link: Callable[[str, int], SerialLink] = SerialLink,
    ) -> None:
        self.port = port
        self.telemetry = Telemetry(wiring)
        self.identity: BoardIdentity | None = None
        self.listeners: list[Callable[[RobotState], None]] = []
        self.round_trip_s = math.nan
        self._baud, self._clock, self._open = baud, clock, open_link
        self._link: SerialLink | None = None
        self._session = secrets.randbelow(2**32 - 1) + 1
        self._seq = secrets.randbelow(2**16)
        self._sent_s: deque[tuple[int, float]] = deque(maxlen=64)  # commands not yet confirmed
        self._answers: deque[tuple[MessageType, dict[str, Any]]] = deque(maxlen=16)
        self._echoed = False
        self._damaged = 0  # pieces that this link has counted and telemetry knows of
        self._before = dict.fromkeys(_COUNTS, 0)

    def counts(self) -> dict[str, int]:
        """Numbers of fresh, lost, stale, damaged and implausible frames over all connections."""
        return {name: self._before[name] + getattr(self.telemetry, name) for name in _COUNTS}

    def rewire(self, wiring: Wiring) -> None:
        """Decode telemetry with another wiring from now on."""
        self._before = self.counts()
        self.telemetry = Telemetry(wiring)

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._link is not None

    def fileno(self) -> int:
        """File descriptor of the port.

        Raises:
            LinkLost: the port is not open.
        """
        return self._open_link().fileno()

    @property
    def low_latency(self) -> bool:
        """Whether the port's driver passes on received bytes without delay."""
        return self._link is not None and self._link.low_latency

    def is_ours(self, status: BoardStatus) -> bool:
        """Whether the board takes commands of this session."""
        return status.session == self._session

    # -- open and close ----------------------------------------------------------------------------

    def open(self) -> BoardIdentity:
        """Open the port and shake hands.

        Raises:
            PortRefused: the port can't be opened.
            BoardRefused: no board answers, or it is not one that can be used.
            LinkLost: the port went away.
        """
        self.close()
        self._before = self.counts()
        self.telemetry = Telemetry(self.telemetry.wiring)
        self._sent_s.clear()
        self._link, self._damaged = self._open(self.port, self._baud), 0
        try:
            self.identity = self._handshake(self._link)
            self.telemetry.lost = 0  # frames sent before the handshake are not lost
        except RobotError:
            self.close()
            raise
        return self.identity

    def close(self) -> None:
        """Close the port; safe to call twice."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _handshake(self, link: SerialLink) -> BoardIdentity:
        self._echoed = False
        link.send(b"\0")  # an empty frame ends whatever a program before us left half sent
        for _ in range(TRIES):
            self._answers.clear()
            self._send(MessageType.HELLO, self._hello())
            answer = self._answer(lambda kind, said: kind is MessageType.HELLO_ACK)
            if answer is not None:
                return checked_identity(self.port, answer, self._session)
        raise BoardRefused(f"{self.port}: {self._what_is_there(link)}")

    def _hello(self) -> dict[str, int]:
        return {
            "major": PROTOCOL_MAJOR,
            "minor": PROTOCOL_MINOR,
            "schema": SCHEMA_HASH,
            "session": self._session,
        }

    def _what_is_there(self, link: SerialLink) -> str:
        if self._echoed:
            return "it sends back what it gets, as a modem does: not a board; choose another port"
        if self.telemetry.fresh:
            return "a board is there but does not answer HELLO; switch it off and on"
        if link.received_bytes:
            return (
                f"the device sent {link.received_bytes} bytes that are no frames of this "
                "protocol (a GPS? another baud rate?); choose another port"
            )
        return "no answer; check power and cable, and that it is a board of docs/protocol.md"

    # -- in and out --------------------------------------------------------------------------------

    def pump(self, wait_s: float = 0.0) -> None:
        """Take what has arrived, and write what is queued.

        Args:
            wait_s: longest wait for something to arrive, s.

        Raises:
            LinkLost: the port is gone.
        """
        link = self._open_link()
        if wait_s > 0.0:
            link.wait(wait_s)
        for frame in link.read():
            self._sort(frame)
        damaged = link.damaged
        if damaged > self._damaged:
            self.telemetry.count_damaged(damaged - self._damaged)
            self._damaged = damaged
        link.flush()

    def catch_up(self) -> None:
        """Take everything that is queued, without counting gaps; may wait for up to `ANSWER_S`.

        Raises:
            LinkLost: the port is gone.
        """
        link, end_s = self._open_link(), self._clock() + ANSWER_S
        while link.wait(0.0) and self._clock() < end_s:
            self.pump()
        self.telemetry.listen_again()

    def wait_for(
        self,
        wanted: Callable[[BoardStatus], bool],
        timeout_s: float = ANSWER_S,
        fresh: int = 1,
    ) -> bool:
        """Wait for new STATE frames; whether `fresh` have come and `wanted` holds for the newest.

        Raises:
            LinkLost: the port is gone.
        """
        end_s = self._clock() + timeout_s
        enough = self.telemetry.fresh + fresh
        while self._clock() < end_s:
            self.pump(end_s - self._clock())
            status = self.telemetry.status
            if self.telemetry.fresh >= enough and status is not None and wanted(status):
                return True
        return False

    # -- inside ------------------------------------------------------------------------------------

    def _open_link(self) -> SerialLink:
        if self._link is None:
            raise LinkLost(f"{self.port}: not open; check cable and power")
        return self._link

    def _sort(self, frame: Frame) -> None:
        heard = self.telemetry
        if frame.kind is MessageType.STATE:
            before_s = heard.arrival_s
            heard.take(frame, self._clock())
            self._time_round_trip(heard.status)
            if heard.arrival_s > before_s and heard.state is not None:
                for listener in self.listeners:
                    listener(heard.state)
        elif frame.kind in (MessageType.HELLO_ACK, MessageType.ACK):
            heard.see(frame.seq)
            self._answers.append((frame.kind, fields_of(frame)))
        else:
            self._echoed = True  # a message that only a host sends

    def _time_round_trip(self, status: BoardStatus | None) -> None:
        while self._sent_s and status is not None:
            seq, sent_s = self._sent_s[0]
            if (status.last_seq - seq) & 0xFFFF >= 1 << 15:
                return  # the board has not processed this command yet
            self._sent_s.popleft()
            if seq == status.last_seq:
                self.round_trip_s = self._clock() - sent_s

    def _send(self, kind: MessageType, fields: Mapping[str, Any], urgent: bool = False) -> bool:
        self._seq = (self._seq + 1) & 0xFFFF
        time_us = int(self._clock() * 1e6)
        return self._open_link().send(encode(kind, fields, self._seq, time_us), urgent)

    def _ask(self, kind: MessageType, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return its ACK; repeats the request if none comes.

        Raises:
            LinkLost: no ACK came.
            RobotStopped: the board has forgotten the session.
        """
        for _ in range(TRIES):
            self._answers.clear()
            self._send(kind, {**fields, "nonce": nonce()})
            answer = self._answer(
                lambda got, said: got is MessageType.ACK and said["of"] == kind.value
            )
            if answer is not None:
                if answer["code"] == AckCode.WRONG_SESSION:
                    raise RobotStopped(
                        f"{self.port}: the board started anew; shake hands again", "board_reboot"
                    )
                return answer
        raise LinkLost(f"{self.port}: {kind.name} is not answered; check cable and power")

    def _answer(
        self, wanted: Callable[[MessageType, dict[str, Any]], bool]
    ) -> dict[str, Any] | None:
        end_s = self._clock() + ANSWER_S
        while True:
            self.pump(end_s - self._clock())
            for kind, fields in self._answers:
                if wanted(kind, fields):
                    return fields
            if self._clock() >= end_s:
                return None


def nonce() -> int:
    """Random number for a message, in [0, 2^32)."""
    return secrets.randbelow(2**32)

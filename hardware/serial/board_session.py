# SPDX-License-Identifier: MIT
"""One conversation with a board: shake hands, ask and be answered, arm in two steps, prove.

What waits is here (for an answer, at most a second), and none of it is for the control path; that
is `hardware.serial.board`. The session number lives as long as the program, so that a board which
was unplugged for a moment knows us again.
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

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import LinkLost, RobotError, RobotState, RobotStopped
from walkhome.hardware.serial.handshake import (
    BoardIdentity,
    BoardRefused,
    checked_identity,
    why_refused,
)
from walkhome.hardware.serial.link import SerialLink
from walkhome.hardware.serial.protocol import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    SCHEMA_HASH,
    AckCode,
    BoardFault,
    Frame,
    MessageType,
    Mode,
    encode,
    fields_of,
)
from walkhome.hardware.serial.telemetry import BoardStatus, Telemetry
from walkhome.hardware.serial.wiring import Wiring

FloatArray = npt.NDArray[np.float64]

ANSWER_S = 0.25  # a board answers within a few milliseconds; FTDI without low latency adds 16
TRIES = 4
PROOF_VALID_S = 0.02
PROOF_LIMIT_S = 0.1
PROOF_WAIT_S = 0.5
_COUNTS = ("fresh", "lost", "stale", "damaged", "implausible")
_ZEROS = (0.0,) * N_MOTORS


class BoardSession:
    """Talks to one board.

    Args:
        port: device file; a by-id name survives replugging.
        wiring: of its motors.
        baud: bits per second.
        clock: monotonic seconds.
        open_link: opens a port at a baud rate.

    Attributes:
        port: as given.
        telemetry: what came in, and how well.
        identity: who answered; None before the first handshake.
        listeners: told every new plausible state.
        round_trip_s: from the newest command that the board confirmed to its confirmation.
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
        """`fresh`, `lost`, `stale`, `damaged`, `implausible` frames over all connections."""
        return {name: self._before[name] + getattr(self.telemetry, name) for name in _COUNTS}

    def rewire(self, wiring: Wiring) -> None:
        """Read with another wiring from now on."""
        self._before = self.counts()
        self.telemetry = Telemetry(wiring)

    @property
    def is_open(self) -> bool:
        """Whether there is a port to talk through."""
        return self._link is not None

    def fileno(self) -> int:
        """The port's descriptor.

        Raises:
            LinkLost: it is not open.
        """
        return self._open_link().fileno()

    @property
    def low_latency(self) -> bool:
        """Whether the port's driver passes bytes on at once."""
        return self._link is not None and self._link.low_latency

    def is_ours(self, status: BoardStatus) -> bool:
        """Whether the board listens to this session."""
        return status.session == self._session

    # -- open and close ----------------------------------------------------------------------------

    def open(self) -> BoardIdentity:
        """Open the port and shake hands.

        Raises:
            PortRefused: the port can't be opened.
            BoardRefused: nobody, or not a board that can be used.
            LinkLost: the port went away.
        """
        self.close()
        self._before = self.counts()
        self.telemetry = Telemetry(self.telemetry.wiring)
        self._sent_s.clear()
        self._link, self._damaged = self._open(self.port, self._baud), 0
        try:
            self.identity = self._handshake(self._link)
            self.telemetry.lost = 0  # what was said while nobody listened is no loss
        except RobotError:
            self.close()
            raise
        return self.identity

    def close(self) -> None:
        """Give the port back; safe to call twice."""
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
                f"what is there says {link.received_bytes} bytes that are no frames of this "
                "protocol (a GPS? another baud rate?); choose another port"
            )
        return "nobody answers; check power and cable, and that it is a board of docs/protocol.md"

    # -- in and out --------------------------------------------------------------------------------

    def pump(self, wait_s: float = 0.0) -> None:
        """Take what has arrived, and send on what waits.

        Args:
            wait_s: until something arrives, at most.

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
        """Take all that waited while nobody listened, and go on from there. May wait: a moment.

        Raises:
            LinkLost: the port is gone.
        """
        link, end_s = self._open_link(), self._clock() + ANSWER_S
        while link.wait(0.0) and self._clock() < end_s:
            self.pump()
        self.telemetry.listen_again()

    def send_command(
        self,
        mode: Mode,
        *,
        valid_s: float,
        cap_nm: float,
        board_rad: FloatArray,
        kp: float,
        kd: float,
    ) -> bool:
        """One COMMAND; angles (8,) are the board's own.

        Returns:
            Whether all of it has been written.

        Raises:
            LinkLost: the port is gone.
        """
        fields = {
            "session": self._session,
            "mode": mode,
            "reserved": 0,
            "valid_ms": round(valid_s * 1e3),
            "torque_cap_nm": cap_nm,
            "angle_rad": board_rad.tolist(),
            "velocity_rad_s": _ZEROS,
            "feed_forward": _ZEROS,
            "kp": (kp,) * N_MOTORS,
            "kd": (kd,) * N_MOTORS,
        }
        whole = self._send(MessageType.COMMAND, fields)
        self._sent_s.append((self._seq, self._clock()))
        return whole

    def disarm(self) -> None:
        """The board damps, then goes limp; jumps the queue.

        Raises:
            LinkLost: the port is gone.
        """
        fields = {"session": self._session, "nonce": _nonce()}
        self._send(MessageType.DISARM, fields, urgent=True)

    def estop(self) -> None:
        """Zero torque at once, latched on the board; jumps the queue.

        Raises:
            LinkLost: the port is gone.
        """
        self._send(MessageType.ESTOP, {"nonce": _nonce()}, urgent=True)

    def ping(self) -> float:
        """Seconds from a question to its answer: HELLO again, which changes nothing.

        Raises:
            LinkLost: it does not answer.
        """
        self._answers.clear()
        begin_s = self._clock()
        self._send(MessageType.HELLO, self._hello())
        if self._answer(lambda kind, said: kind is MessageType.HELLO_ACK) is None:
            raise LinkLost(f"{self.port}: HELLO is not answered; check cable and power")
        return self._clock() - begin_s

    # -- ask and be answered -----------------------------------------------------------------------

    def clear_faults(self) -> BoardFault:
        """Ask the board to forget its faults; returns those that are still there.

        Raises:
            LinkLost: it does not answer.
            RobotStopped: it has forgotten the session.
        """
        self._ask(MessageType.CLEAR_FAULT, {"session": self._session})
        self.wait_for(lambda status: True, fresh=2)
        status = self.telemetry.status
        return BoardFault.NONE if status is None else status.faults

    def arm(self) -> None:
        """Two steps: ask for a challenge, give it back. From then on silence is a time-out.

        Raises:
            LinkLost: it does not answer.
            RobotStopped: it has forgotten the session.
            BoardRefused: it refuses, with its reason.
        """
        for _ in range(TRIES):
            asked = self._ask(MessageType.ARM, {"session": self._session, "confirm": 0})
            if asked["code"] != AckCode.CHALLENGE:
                raise BoardRefused(f"{self.port}: does not arm: {why_refused(asked)}")
            confirm = {"session": self._session, "nonce": asked["nonce"], "confirm": 1}
            self._send(MessageType.ARM, confirm)
            # Armed is what telemetry says; an acknowledgement may get lost.
            if self.wait_for(lambda status: status.armed and self.is_ours(status)):
                return
        raise BoardRefused(f"{self.port}: does not arm; its answers get damaged, check the cable")

    def prove_timeout(self) -> float:
        """Let a command run out, without torque, and see the board notice it by itself.

        Arms, sends one command of mode OFF, says nothing more, waits for the board's TIMEOUT fault
        and clears it.

        Returns:
            Seconds on the board's clock from the last telemetry before the silence to that with
            the fault: at most a telemetry period more than the truth.

        Raises:
            LinkLost: it does not answer.
            RobotStopped: it has forgotten the session.
            BoardRefused: no time-out came; such a board must not be armed.
        """
        for _ in range(2):  # a command that got lost would be held to the board's own limit
            took_s = self._run_out()
            if took_s <= PROOF_LIMIT_S:
                break
            if math.isfinite(took_s):
                self.clear_faults()
        else:
            self.estop()
            raise BoardRefused(
                f"{self.port}: the board did not stop by itself within "
                f"{PROOF_LIMIT_S * 1e3:.0f} ms of silence, so nothing would if this program dies; "
                "flash firmware that keeps docs/protocol.md"
            )
        left = self.clear_faults()
        if left:
            raise BoardRefused(f"{self.port}: its faults don't clear: {left!s}")
        return took_s

    def _run_out(self) -> float:
        """Let a command run out; seconds until the board said so, infinite if it did not."""
        self.arm()
        self.send_command(
            Mode.OFF,
            valid_s=PROOF_VALID_S,
            cap_nm=0.0,
            board_rad=np.zeros(N_MOTORS),
            kp=0.0,
            kd=0.0,
        )
        begin = self.telemetry.status
        timed_out = self.wait_for(
            lambda status: bool(status.faults & BoardFault.TIMEOUT) and not status.armed,
            timeout_s=PROOF_WAIT_S,
        )
        end = self.telemetry.status
        return end.board_s - begin.board_s if timed_out and begin and end else math.inf

    def wait_for(
        self,
        wanted: Callable[[BoardStatus], bool],
        timeout_s: float = ANSWER_S,
        fresh: int = 1,
    ) -> bool:
        """Until so many new STATE frames have come and the newest is as wanted.

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
            self._echoed = True  # what only a host says

    def _time_round_trip(self, status: BoardStatus | None) -> None:
        while self._sent_s and status is not None:
            seq, sent_s = self._sent_s[0]
            if (status.last_seq - seq) & 0xFFFF >= 1 << 15:
                return  # it has not got so far
            self._sent_s.popleft()
            if seq == status.last_seq:
                self.round_trip_s = self._clock() - sent_s

    def _send(self, kind: MessageType, fields: Mapping[str, Any], urgent: bool = False) -> bool:
        self._seq = (self._seq + 1) & 0xFFFF
        time_us = int(self._clock() * 1e6)
        return self._open_link().send(encode(kind, fields, self._seq, time_us), urgent)

    def _ask(self, kind: MessageType, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Send, wait for its ACK, and again if none comes."""
        for _ in range(TRIES):
            self._answers.clear()
            self._send(kind, {**fields, "nonce": _nonce()})
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


def _nonce() -> int:
    return secrets.randbelow(2**32)

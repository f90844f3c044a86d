# SPDX-License-Identifier: MIT
"""Procedures of a session with a board: command, stop, clear faults, arm, prove the time-out.

All but commands and stops wait for answers of the board, at most a second, and therefore must not
run on the control path. `hardware.serial.connection` is the connection below them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import LinkLost
from walkhome.hardware.serial.connection import TRIES, BoardConnection, nonce
from walkhome.hardware.serial.handshake import (
    BoardRefused,
    why_refused,
)
from walkhome.hardware.serial.protocol import (
    AckCode,
    BoardFault,
    MessageType,
    Mode,
)

FloatArray = npt.NDArray[np.float64]

PROOF_VALID_S = 0.02
PROOF_LIMIT_S = 0.1
PROOF_WAIT_S = 0.5
_ZEROS = (0.0,) * N_MOTORS


class BoardSession(BoardConnection):
    """A connection to one board, with the procedures of docs/protocol.md.

    Arguments and attributes are those of `BoardConnection`.
    """

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
        """Send one COMMAND to the board.

        Args:
            mode: off, damp or position.
            valid_s: how long the board holds the command.
            cap_nm: torque cap of each motor, N m.
            board_rad: (8,) target angles in the board's own terms, rad.
            kp: PWM per rad.
            kd: PWM per rad/s.

        Returns:
            Whether the frame was written completely.

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
        """Have the board damp its motors and let them go limp; overtakes queued frames.

        Raises:
            LinkLost: the port is gone.
        """
        fields = {"session": self._session, "nonce": nonce()}
        self._send(MessageType.DISARM, fields, urgent=True)

    def estop(self) -> None:
        """Have the board cut the torque and latch that; overtakes queued frames.

        Raises:
            LinkLost: the port is gone.
        """
        self._send(MessageType.ESTOP, {"nonce": nonce()}, urgent=True)

    def ping(self) -> float:
        """Measure the time from a HELLO, which changes nothing, to its answer, s.

        Raises:
            LinkLost: the board does not answer.
        """
        self._answers.clear()
        begin_s = self._clock()
        self._send(MessageType.HELLO, self._hello())
        if self._answer(lambda kind, said: kind is MessageType.HELLO_ACK) is None:
            raise LinkLost(f"{self.port}: HELLO is not answered; check cable and power")
        return self._clock() - begin_s

    def clear_faults(self) -> BoardFault:
        """Ask the board to clear its faults, and return those that remain.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has forgotten the session.
        """
        self._ask(MessageType.CLEAR_FAULT, {"session": self._session})
        self.wait_for(lambda status: True, fresh=2)
        status = self.telemetry.status
        return BoardFault.NONE if status is None else status.faults

    def arm(self) -> None:
        """Arm the board in two steps: request a challenge and return it.

        From then on the board times out without commands.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has forgotten the session.
            BoardRefused: the board refuses, with its reason.
        """
        for _ in range(TRIES):
            asked = self._ask(MessageType.ARM, {"session": self._session, "confirm": 0})
            if asked["code"] != AckCode.CHALLENGE:
                raise BoardRefused(f"{self.port}: does not arm: {why_refused(asked)}")
            confirm = {"session": self._session, "nonce": asked["nonce"], "confirm": 1}
            self._send(MessageType.ARM, confirm)
            # Telemetry decides, because the acknowledgement may get lost.
            if self.wait_for(lambda status: status.armed and self.is_ours(status)):
                return
        raise BoardRefused(f"{self.port}: does not arm; its answers get damaged, check the cable")

    def prove_timeout(self) -> float:
        """Prove, without torque, that the board notices by itself when commands stop.

        Arms the board, sends one command of mode OFF and nothing more, waits for the board's
        TIMEOUT fault and clears it.

        Returns:
            Time on the board's clock from the last telemetry before the silence to the telemetry
            with the fault, s: at most one telemetry period too long.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has forgotten the session.
            BoardRefused: no time-out came; such a board must not be armed.
        """
        for _ in range(2):  # a command that gets lost is held to the board's own limit
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
        """Let a command expire; seconds until the board reported that, infinite if it did not."""
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

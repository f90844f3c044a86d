# SPDX-License-Identifier: MIT
"""SerialRobot: a `Robot` behind a serial port that speaks docs/protocol.md.

    open() --> who are you --> arm() in two steps --> command, read, command, read ...

No thread, and no waiting on the control path: `read` takes what has arrived, `command` hands one
frame to the link. The board has the last word on every time-out; the host adds that silence,
implausible readings or a board that disarmed itself end in an exception, and after one no command
goes out until `arm` has succeeded again.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import (
    Implausible,
    LinkDamaged,
    LinkLost,
    MotorCommand,
    RobotState,
    RobotStopped,
    Stop,
)
from walkhome.hardware.serial.board_session import BoardSession
from walkhome.hardware.serial.handshake import BoardIdentity, BoardRefused, WrongRobot, why_stopped
from walkhome.hardware.serial.link import SerialLink
from walkhome.hardware.serial.protocol import BoardFault, Mode
from walkhome.hardware.serial.telemetry import Heard, Telemetry
from walkhome.hardware.serial.watchdog import Watchdog
from walkhome.hardware.serial.wiring import Wiring
from walkhome.hardware.timing import Lateness

BAD_READINGS = 3  # in a row are Implausible, fewer are a glitch
FIRST_TORQUE = 0.1  # share of the torque cap right after arming
LEAST_VALID_S = 1e-3  # the wire counts in milliseconds

FloatArray = npt.NDArray[np.float64]


class _Sent(NamedTuple):
    """A command that went out."""

    command: MotorCommand
    board_rad: FloatArray
    at_s: float


@dataclass(frozen=True)
class BoardTiming:
    """How patient the host is.

    Attributes:
        silence_s: telemetry older than this is a lost link.
        ease_in_s: after arming the torque cap grows to the whole over so long.
    """

    silence_s: float = 0.1
    ease_in_s: float = 1.0


class SerialRobot:
    """A robot on a serial port.

    Args:
        port: device file; a by-id name survives replugging.
        body: its body.
        wiring: of its motors; `rewire` changes it before arming.
        timing: see `BoardTiming`.
        baud: bits per second.
        clock: monotonic seconds.
        open_link: opens a port at a baud rate; for worlds with a time of their own.

    Attributes:
        port: as given.
        reconnects: times that the port was opened anew.
        ages: of the states that were read, seconds since their measurement.
        latencies: from a state that was read to the command after it, seconds.
    """

    def __init__(
        self,
        port: str,
        body: Body,
        wiring: Wiring | None = None,
        timing: BoardTiming | None = None,
        baud: int = 921_600,
        clock: Callable[[], float] = time.monotonic,
        open_link: Callable[[str, int], SerialLink] = SerialLink,
    ) -> None:
        self.port = port
        self.reconnects = 0
        self.ages, self.latencies = Lateness(), Lateness()
        self._read_s = math.nan
        self._body, self._timing, self._clock = body, timing or BoardTiming(), clock
        self._session = BoardSession(port, wiring or Wiring(), baud, clock, open_link)
        self._at_close = contextlib.ExitStack()
        self._watchdog: Watchdog | None = None
        self._armed = False
        self._armed_s = -math.inf
        self._newest: _Sent | None = None  # command since it was armed

    # -- the Robot protocol ------------------------------------------------------------------------

    @property
    def body(self) -> Body:
        """Its body."""
        return self._body

    def read(self) -> RobotState:
        """The newest state; does not wait.

        Raises:
            LinkLost: the port is gone, or telemetry stands still.
            LinkDamaged: too many frames are damaged, here or on the board.
            Implausible: three readings in a row can't be true.
            RobotStopped: the board has let the motors go by itself.
        """
        try:
            return self._read()
        except (LinkLost, Implausible, RobotStopped):
            self._armed = False
            raise

    def _read(self) -> RobotState:
        self._session.pump()
        if self._armed and self._watchdog is not None and (why := self._watchdog.trouble()):
            raise RobotStopped(f"{self.port}: {why}", self._watchdog.fault())
        now_s, heard = self._clock(), self.telemetry
        state, status = heard.state, heard.status
        if self._armed and status is not None:
            ours = self._session.is_ours(status)
            if status.faults or not (status.armed and ours):
                code, why = why_stopped(status, ours)
                raise RobotStopped(f"{self.port}: {why}", code)
        if heard.implausible_in_a_row >= BAD_READINGS:
            raise Implausible(
                f"{self.port}: {heard.why}, {heard.implausible_in_a_row} readings in a row; check "
                "the sensors and their cables"
            )
        if state is None:
            raise LinkLost(f"{self.port}: no telemetry yet; check cable and power")
        if self._armed and heard.damage.reached:
            raise LinkDamaged(
                f"{self.port}: too many damaged frames ({heard.damaged} since the port was opened, "
                f"{heard.fresh} whole); check the cable, its shielding and the baud rate"
            )
        # By its measurement, not its arrival: what waited in a queue is not news.
        age_s = max(0.0, now_s - state.time_s)
        if age_s > self._timing.silence_s:
            raise LinkLost(
                f"{self.port}: no telemetry for {age_s * 1e3:.0f} ms; check cable and power"
            )
        self.ages.add(age_s)
        self._read_s = now_s
        return replace(state, age_s=age_s)

    def command(self, command: MotorCommand) -> MotorCommand:
        """Send targets; what is beyond the board's limits is cut to them.

        Raises:
            LinkLost: the port is gone.
            RobotStopped: not armed; nothing was sent.
            ValueError: not eight finite targets and finite gains; nothing was sent.
        """
        if not self._armed:
            raise RobotStopped(f"{self.port}: not armed, so no command goes out")
        sent, board_rad = self._within_limits(command, self.identity)
        try:
            whole = self._send(sent, board_rad, sent.valid_s)
        except LinkLost:
            self._armed = False
            raise
        now_s = self._clock()
        if math.isfinite(self._read_s):
            self.latencies.add(now_s - self._read_s)
            self._read_s = math.nan
        first, self._newest = self._newest is None, _Sent(sent, board_rad, now_s)
        if self._watchdog is not None:
            if first:  # there was no torque before
                self._watchdog.watch(True)
            if whole:
                self._watchdog.beat()
        return sent

    def repeat(self) -> bool:
        """Send the newest command again: whoever listens shall know that somebody still commands.

        For between two control periods. It never makes the board hold a command longer than its
        first sending did, so a loop that has nothing new to say is stopped as soon as ever. Without
        a command, or not armed, nothing is sent. A lost link is left to the next reading.

        Returns:
            Whether it went out.
        """
        newest = self._newest
        if not self._armed or newest is None:
            return False
        left_s = newest.command.valid_s - (self._clock() - newest.at_s)
        left_s = math.floor(1e3 * left_s) * 1e-3  # never rounded up on the wire
        if left_s < LEAST_VALID_S:
            return False
        try:
            whole = self._send(newest.command, newest.board_rad, left_s)
        except LinkLost:
            return False
        if whole and self._watchdog is not None:
            self._watchdog.beat()
        return whole

    def heard(self) -> Heard | None:
        """Look what has come since the last reading, and leave it to the next one.

        Returns:
            How many states; None when not armed, and while their period is not known. A lost link
            is left to the next reading too.
        """
        period_s, before = self.telemetry.period_s, self.telemetry.fresh
        if not self._armed or period_s is None:
            return None
        try:
            self._session.pump()
        except LinkLost:
            return None
        return Heard(self.telemetry.fresh - before, period_s)

    def _send(self, command: MotorCommand, board_rad: FloatArray, valid_s: float) -> bool:
        return self._session.send_command(
            Mode.POSITION,
            valid_s=valid_s,
            cap_nm=command.torque_cap_nm,
            board_rad=board_rad,
            kp=command.kp,
            kd=command.kd,
        )

    def stop(self, how: Stop) -> None:
        """SETTLE: the board damps, then goes limp. CUT: zero torque, latched until released.

        Never fails: without a link the board's own time-out stops it.
        """
        self._armed = False
        with contextlib.suppress(LinkLost):
            for _ in range(2 * self._session.is_open):  # two damaged frames in a row are rare
                if how is Stop.CUT:
                    self._session.estop()
                else:
                    self._session.disarm()
        if self._watchdog is not None:
            self._watchdog.watch(False)

    def close(self) -> None:
        """Settle, if armed, and let go of the port; safe to call twice."""
        if self._armed:
            self.stop(Stop.SETTLE)
        if self._session.is_open:
            with contextlib.suppress(LinkLost):
                self._session.pump()
        self._close_port()
        self._at_close.close()

    # -- who is there ------------------------------------------------------------------------------

    @property
    def identity(self) -> BoardIdentity:
        """Who answered.

        Raises:
            BoardRefused: nobody yet.
        """
        if self._session.identity is None:
            raise BoardRefused(f"{self.port}: no handshake yet; open it first")
        return self._session.identity

    @property
    def telemetry(self) -> Telemetry:
        """What came in, and how well, since the port was opened."""
        return self._session.telemetry

    def counts(self) -> dict[str, int]:
        """Frames over all connections; see `BoardSession.counts`."""
        return self._session.counts()

    @property
    def armed(self) -> bool:
        """Whether commands go out."""
        return self._armed

    @property
    def low_latency(self) -> bool:
        """Whether the port's driver passes bytes on at once."""
        return self._session.low_latency

    @property
    def round_trip_s(self) -> float:
        """From the newest command that the board confirmed to its confirmation; NaN before."""
        return self._session.round_trip_s

    @property
    def listeners(self) -> list[Callable[[RobotState], None]]:
        """Told every new plausible state, as odometry wants it; add to it, remove from it."""
        return self._session.listeners

    def at_close(self, callback: Callable[[], object]) -> None:
        """Call this once, when the robot is let go of."""
        self._at_close.callback(callback)

    def rewire(self, wiring: Wiring) -> None:
        """Use another wiring from now on.

        Raises:
            BoardRefused: the robot is armed.
        """
        if self._armed:
            raise BoardRefused(f"{self.port}: armed; disarm before the wiring changes")
        self._session.rewire(wiring)

    def watched_by(self, watchdog: Watchdog) -> None:
        """From now on this one stops the robot when commands stay away; before the first arming.

        Raises:
            LinkLost: the port is not open.
        """
        watchdog.hand_over(self._session.fileno())
        self._watchdog = watchdog

    def open(self) -> BoardIdentity:
        """Open the port and shake hands; see `BoardSession.open`."""
        self._armed = False
        self._close_port()
        identity = self._session.open()
        if self._watchdog is not None:
            self._watchdog.hand_over(self._session.fileno())
        return identity

    def _close_port(self) -> None:
        # The watchdog first: its descriptor would keep the port's lock.
        if self._watchdog is not None:
            self._watchdog.watch(False)
            self._watchdog.take_back()
        self._session.close()

    def reopen(self) -> bool:
        """Open the port again after it was lost; the same robot has to be there.

        Returns:
            Whether the board has started anew meanwhile, so that nothing known of it holds.

        Raises:
            PortRefused: the port is not back yet.
            WrongRobot: another robot answers.
            BoardRefused: nobody answers yet.
            LinkLost: it went away again.
        """
        before = self.identity
        now = self.open()
        self.reconnects += 1
        if (now.robot_id, now.zero_table) != (before.robot_id, before.zero_table):
            self._close_port()
            self._session.identity = before
            raise WrongRobot(
                f"{self.port}: now robot {now.robot_id!r} with zero table {now.zero_table} "
                f"answers, not {before.robot_id!r} with {before.zero_table}; put the cable back, "
                "or start anew"
            )
        return now.boot != before.boot

    # -- arming ------------------------------------------------------------------------------------

    def pump(self, wait_s: float = 0.0) -> None:
        """Take what has arrived, waiting for it at most so long; see `BoardSession.pump`."""
        self._session.pump(wait_s)

    def ping(self) -> float:
        """Seconds from a question to its answer; see `BoardSession.ping`."""
        return self._session.ping()

    def wait_for_state(self, timeout_s: float = 0.25) -> bool:
        """Until a state has come that is news; whether it did.

        What waited in the port's queue meanwhile is old, and has a gap behind it.

        Raises:
            LinkLost: the port is gone.
        """
        self._session.catch_up()
        return self._session.wait_for(lambda status: True, timeout_s, fresh=2)

    def clear_faults(self) -> BoardFault:
        """Disarm and clear what can be cleared; see `BoardSession.clear_faults`."""
        self._armed = False
        return self._session.clear_faults()

    def prove_timeout(self) -> float:
        """See the board stop by itself, without torque; see `BoardSession.prove_timeout`."""
        self._armed = False
        return self._session.prove_timeout()

    def arm(self) -> None:
        """From now on commands go out, with a torque cap that grows; see `BoardSession.arm`.

        Who drives has to command within the board's `valid_limit_s`, or it times out.
        """
        self._session.arm()
        self._armed, self._armed_s, self._newest = True, self._clock(), None

    # -- inside ------------------------------------------------------------------------------------

    def _within_limits(
        self, command: MotorCommand, board: BoardIdentity
    ) -> tuple[MotorCommand, FloatArray]:
        """What may go out, and its angles as the board counts them."""
        angle = np.asarray(command.angle_rad, dtype=np.float64)
        numbers = (command.kp, command.kd, command.valid_s, command.torque_cap_nm)
        if angle.shape != (N_MOTORS,):
            raise ValueError(f"motor command has shape {angle.shape}, not ({N_MOTORS},)")
        if not (np.isfinite(angle).all() and all(map(math.isfinite, numbers))):
            raise ValueError("motor command is not finite; it was not sent")
        wiring, limit = self.telemetry.wiring, board.angle_limit_rad
        board_rad = np.clip(wiring.board_angle(angle), -limit, limit)
        ease_in_s, since_s = self._timing.ease_in_s, self._clock() - self._armed_s
        eased = 1.0 if since_s >= ease_in_s else max(0.0, since_s / ease_in_s)
        share = FIRST_TORQUE + (1.0 - FIRST_TORQUE) * eased
        sent = MotorCommand(
            wiring.body_angle(board_rad),
            kp=min(max(command.kp, 0.0), board.kp_limit),
            kd=min(max(command.kd, 0.0), board.kd_limit),
            valid_s=min(max(command.valid_s, LEAST_VALID_S), board.valid_limit_s),
            torque_cap_nm=min(max(command.torque_cap_nm, 0.0), board.torque_limit_nm) * share,
        )
        return sent, board_rad

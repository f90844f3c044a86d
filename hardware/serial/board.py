# SPDX-License-Identifier: MIT
"""SerialRobot: a `Robot` behind a serial port that speaks docs/protocol.md.

    open() --> handshake --> arm() in two steps --> command, read, command, read ...

There is no thread, and the control path never waits: `read` takes what has arrived, `command` hands
one frame to the link. The board decides every time-out by itself. On the host, silence, implausible
readings or a board that disarmed itself raise an exception; after one, no command goes out until
`arm` has succeeded again.
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
from walkhome.hardware.serial.command_limits import LEAST_VALID_S, within_limits
from walkhome.hardware.serial.handshake import BoardIdentity, BoardRefused, WrongRobot, why_stopped
from walkhome.hardware.serial.link import SerialLink
from walkhome.hardware.serial.protocol import BoardFault, Mode
from walkhome.hardware.serial.telemetry import Heard, Telemetry
from walkhome.hardware.serial.watchdog import Watchdog
from walkhome.hardware.serial.wiring import Wiring
from walkhome.hardware.timing import Lateness

BAD_READINGS = 3
"""So many implausible readings in a row raise Implausible; fewer are a glitch."""
FIRST_TORQUE = 0.1
"""Share of the torque cap right after arming."""

FloatArray = npt.NDArray[np.float64]


class _Sent(NamedTuple):
    """A command that was sent, the board's own angles in it (8,) rad, and when."""

    command: MotorCommand
    board_rad: FloatArray
    at_s: float


@dataclass(frozen=True)
class BoardTiming:
    """Time limits of the host.

    Attributes:
        silence_s: telemetry that is older counts as a lost link.
        ease_in_s: time over which the torque cap grows to its full value after arming.
    """

    silence_s: float = 0.1
    ease_in_s: float = 1.0


class SerialRobot:
    """A robot on a serial port.

    Args:
        port: device file; a by-id name survives replugging.
        body: the robot's body.
        wiring: order, signs and zeros of its motors; `rewire` changes it before arming.
        timing: time limits of the host.
        baud: bits per second.
        clock: monotonic time, s.
        open_link: opens a port at a baud rate; tests with simulated time pass their own.

    Attributes:
        port: as given.
        reconnects: how often the port was opened again.
        ages: age of each state when it was read, s.
        latencies: time from reading a state to the command after it, s.
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
        """The body of the robot."""
        return self._body

    def read(self) -> RobotState:
        """Return the newest state; does not wait.

        Raises:
            LinkLost: the port is gone, or telemetry has stopped.
            LinkDamaged: too many frames are damaged, on the host's or the board's side.
            Implausible: `BAD_READINGS` readings in a row are impossible.
            RobotStopped: the board has switched off its motors, or the watchdog has.
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
        # The age counts from the measurement, not from its arrival: a state may have been queued.
        age_s = max(0.0, now_s - state.time_s)
        if age_s > self._timing.silence_s:
            raise LinkLost(
                f"{self.port}: no telemetry for {age_s * 1e3:.0f} ms; check cable and power"
            )
        self.ages.add(age_s)
        self._read_s = now_s
        return replace(state, age_s=age_s)

    def command(self, command: MotorCommand) -> MotorCommand:
        """Send motor targets, clipped to the board's limits.

        Returns:
            The command that was sent, after clipping and with the eased-in torque cap.

        Raises:
            LinkLost: the port is gone.
            RobotStopped: the robot is not armed; nothing was sent.
            ValueError: the targets are not eight finite numbers, or a gain is not finite; nothing
                was sent.
        """
        if not self._armed:
            raise RobotStopped(f"{self.port}: not armed, so no command goes out")
        wiring = self.telemetry.wiring
        sent, board_rad = within_limits(command, self.identity, wiring, self._torque_share())
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
        """Send the newest command again between two periods, so that the supervisor sees a command.

        The repeated command expires when the first one does: a control loop that hangs is stopped
        as soon as without repeats. Nothing is sent without a command or while disarmed. A lost link
        is left to the next `read`.

        Returns:
            Whether the command was written completely.
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
        """Count the states that have come since the last `read`, and leave them to the next one.

        Returns:
            Their number and their period; None while disarmed or while the period is not known. A
            lost link is left to the next `read`.
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
        """Stop the robot; never fails, because without a link the board's time-out stops it.

        Args:
            how: SETTLE: the board damps the motors, then lets them go limp. CUT: zero torque at
                once, latched on the board until it is cleared.
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
        """Settle the robot if it is armed, and close the port; safe to call twice."""
        if self._armed:
            self.stop(Stop.SETTLE)
        if self._session.is_open:
            with contextlib.suppress(LinkLost):
                self._session.pump()
        self._close_port()
        self._at_close.close()

    # -- identity and telemetry ------------------------------------------------------------------

    @property
    def identity(self) -> BoardIdentity:
        """Identity of the board, from the handshake.

        Raises:
            BoardRefused: there was no handshake yet.
        """
        if self._session.identity is None:
            raise BoardRefused(f"{self.port}: no handshake yet; open it first")
        return self._session.identity

    @property
    def telemetry(self) -> Telemetry:
        """Decoded telemetry and its statistics since the port was opened."""
        return self._session.telemetry

    def counts(self) -> dict[str, int]:
        """Numbers of frames over all connections; see `BoardSession.counts`."""
        return self._session.counts()

    @property
    def armed(self) -> bool:
        """Whether the robot takes commands."""
        return self._armed

    @property
    def low_latency(self) -> bool:
        """Whether the port's driver passes on received bytes without delay."""
        return self._session.low_latency

    @property
    def round_trip_s(self) -> float:
        """Time from the newest confirmed command to its confirmation, s; NaN before the first."""
        return self._session.round_trip_s

    @property
    def listeners(self) -> list[Callable[[RobotState], None]]:
        """Functions called with every new plausible state; callers add and remove theirs."""
        return self._session.listeners

    def at_close(self, callback: Callable[[], object]) -> None:
        """Register a function that is called once, when the robot is closed."""
        self._at_close.callback(callback)

    def rewire(self, wiring: Wiring) -> None:
        """Use another wiring of the motors from now on.

        Raises:
            BoardRefused: the robot is armed.
        """
        if self._armed:
            raise BoardRefused(f"{self.port}: armed; disarm before the wiring changes")
        self._session.rewire(wiring)

    def watched_by(self, watchdog: Watchdog) -> None:
        """Hand the port to a watchdog that stops the robot when commands stay away.

        Call it before the first arming.

        Raises:
            LinkLost: the port is not open.
        """
        watchdog.hand_over(self._session.fileno())
        self._watchdog = watchdog

    def open(self) -> BoardIdentity:
        """Open the port and shake hands.

        Raises:
            PortRefused: the port can't be opened.
            BoardRefused: no usable board answers.
            LinkLost: the port went away.
        """
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
        """Open the port again after it was lost; the same robot has to answer.

        Returns:
            Whether the board has restarted meanwhile, so that its state is unknown.

        Raises:
            PortRefused: the port is not back yet.
            WrongRobot: another robot answers.
            BoardRefused: no board answers yet.
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
        """Take what has arrived; waits at most `wait_s` for something to arrive.

        Raises:
            LinkLost: the port is gone.
        """
        self._session.pump(wait_s)

    def ping(self) -> float:
        """Measure the round trip of a question and its answer, s.

        Raises:
            LinkLost: the board does not answer.
        """
        return self._session.ping()

    def wait_for_state(self, timeout_s: float = 0.25) -> bool:
        """Drop what is queued in the port, and wait for new states; whether they came.

        Queued states are old, and there is a gap after them.

        Raises:
            LinkLost: the port is gone.
        """
        self._session.catch_up()
        return self._session.wait_for(lambda status: True, timeout_s, fresh=2)

    def clear_faults(self) -> BoardFault:
        """Disarm, clear the board's faults, and return those that remain.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has forgotten the session.
        """
        self._armed = False
        return self._session.clear_faults()

    def prove_timeout(self) -> float:
        """Prove that the board stops by itself; see `BoardSession.prove_timeout`."""
        self._armed = False
        return self._session.prove_timeout()

    def arm(self) -> None:
        """Arm the robot; the torque cap then grows over `BoardTiming.ease_in_s`.

        The first command has to follow within the board's `valid_limit_s`, or it times out.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has forgotten the session.
            BoardRefused: the board refuses, with its reason.
        """
        self._session.arm()
        self._armed, self._armed_s, self._newest = True, self._clock(), None

    # -- inside ------------------------------------------------------------------------------------

    def _torque_share(self) -> float:
        """Share of the torque cap that is allowed now; it rises from `FIRST_TORQUE` to 1."""
        ease_in_s, since_s = self._timing.ease_in_s, self._clock() - self._armed_s
        eased = 1.0 if since_s >= ease_in_s else max(0.0, since_s / ease_in_s)
        return FIRST_TORQUE + (1.0 - FIRST_TORQUE) * eased

# SPDX-License-Identifier: MIT
"""From STATE frames to robot states: what is fresh, what is plausible, and how old it is.

A frame counts if it is newer than the last one by sequence and by the board's clock: a frozen,
repeated or reordered stream never looks alive. A reading that no robot gives (not finite, out of
range, a jump) is counted and dropped; three in a row are `Implausible`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from walkhome.hardware.constants import CURRENT_TABLE_A, TORQUE_TABLE_NM
from walkhome.hardware.robot import Fault, RobotState
from walkhome.hardware.serial.protocol import BoardFault, Frame, Mode, fields_of
from walkhome.hardware.serial.wiring import Wiring
from walkhome.hardware.timing import TooOften

CLOCK_WINDOW_S = 2.0
# Largest plausible readings; a Minitaur's motors reach 90 rad/s, its legs may wind up.
ANGLE_RAD = 100.0
VELOCITY_RAD_S = 300.0
CURRENT_A = 500.0
TEMPERATURE_C = (-40.0, 200.0)
ANGULAR_VELOCITY_RAD_S = 50.0
ACCELERATION_M_S2 = 500.0
BATTERY_V = 60.0
QUATERNION_ERROR = 0.05
PERIODS = 50  # over so many frames their period is averaged
DAMAGED_AT_ONCE = 8  # frames; at 100 Hz less than the silence that is a lost link
DAMAGED_PER_GOOD = 0.25  # a fifth of all may be damaged for ever
JUMP_RAD = 0.5  # beyond what the largest velocity explains

_FAULTS = {
    BoardFault.TIMEOUT: Fault.TIMEOUT,
    BoardFault.ESTOP: Fault.ESTOP,
    BoardFault.OVERHEAT: Fault.OVERHEAT,
    BoardFault.BROWN_OUT: Fault.UNDERVOLTAGE,
    BoardFault.IMU: Fault.IMU,
}


def faults_of(bits: int) -> Fault:
    """A board's fault bits as a robot's."""
    fault = Fault.NONE
    for board, ours in _FAULTS.items():
        if bits & board:
            fault |= ours
    return fault


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """What a STATE frame says of the board itself.

    Attributes:
        session: whom it listens to.
        last_seq: the last command it accepted.
        mode: what its motors do.
        armed: whether commands move it.
        faults: latched.
        refused: commands it refused since it started.
        damaged: damaged frames it got since it started.
        board_s: its own clock, unwrapped.
    """

    session: int
    last_seq: int
    mode: Mode
    armed: bool
    faults: BoardFault
    refused: int
    damaged: int
    board_s: float


class Heard(NamedTuple):
    """What came in.

    Attributes:
        states: that came since somebody looked last.
        period_s: from one state to the next, averaged.
    """

    states: int
    period_s: float


class BoardClock:
    """The board's clock in ours: the fastest frame of the last seconds took no time.

    So an age is what a frame took longer than the fastest; a delay that is always there can't be
    seen from one side (the echo of `last_seq` shows it).
    """

    def __init__(self) -> None:
        self.board_s = 0.0
        self._last_us: int | None = None
        self._least = math.inf
        self._least_before = math.inf
        self._window_end_s = -math.inf

    def newer(self, time_us: int) -> bool:
        """Whether a frame's time is after the last one's (modulo 2^32)."""
        return self._last_us is None or 0 < (time_us - self._last_us) & 0xFFFFFFFF < 1 << 31

    def take(self, time_us: int, arrival_s: float) -> float:
        """Our time of a frame's measurement; the frame has to be newer."""
        if self._last_us is None:
            self._last_us = time_us
        self.board_s += ((time_us - self._last_us) & 0xFFFFFFFF) * 1e-6
        self._last_us = time_us
        if arrival_s > self._window_end_s:
            self._least_before, self._least = self._least, math.inf
            self._window_end_s = arrival_s + CLOCK_WINDOW_S
        self._least = min(self._least, arrival_s - self.board_s)
        return self.board_s + min(self._least, self._least_before)


class Telemetry:
    """The newest state of a board, and how well it arrives.

    Args:
        wiring: of its motors.

    Attributes:
        state: newest plausible reading; its `age_s` is that at arrival.
        status: newest of the board itself, also from a frame with an implausible reading.
        arrival_s: when the newest plausible one arrived.
        fresh: frames that counted.
        stale: frames that were not newer than the one before.
        lost: frames missing in the sequence.
        damaged: pieces that were no frames, here, and those that the board counted.
        damage: whether that is too often.
        implausible: frames with a reading that can't be true.
        implausible_in_a_row: of those, since the last good one.
        why: what was wrong with the last implausible one.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.state: RobotState | None = None
        self.status: BoardStatus | None = None
        self.arrival_s = -math.inf
        self.damaged = 0
        self.damage = TooOften(DAMAGED_AT_ONCE, DAMAGED_PER_GOOD)
        self.fresh = self.stale = self.lost = 0
        self.implausible = self.implausible_in_a_row = 0
        self.why = ""
        self._clock = BoardClock()
        self._seq: int | None = None
        self._in_a_row = False  # whether the newest frame came right after the one before
        self._periods, self._period_s = 0, 0.0

    def see(self, seq: int) -> bool:
        """Count a frame of any kind by its sequence number; whether it is newer than the last."""
        gap = 1 if self._seq is None else (seq - self._seq) & 0xFFFF
        if not 0 < gap < 1 << 15:
            return False
        self._in_a_row = self._seq is not None and gap == 1
        self._seq = seq
        self.lost += gap - 1
        return True

    def listen_again(self) -> None:
        """Nobody listened for a while: what was said meanwhile is not lost, only not heard."""
        self._seq = None

    def count_damaged(self, pieces: int) -> None:
        """So many more pieces came that were no frames."""
        self.damaged += pieces
        self.damage.add(pieces, 0.0)

    def take(self, frame: Frame, arrival_s: float) -> None:
        """A STATE frame."""
        if not (self.see(frame.seq) and self._clock.newer(frame.time_us)):
            self.stale += 1
            return
        before_s = self._clock.board_s
        time_s = self._clock.take(frame.time_us, arrival_s)
        if self._in_a_row:
            self._average(self._clock.board_s - before_s)
        fields = fields_of(frame)
        before, self.status = self.status, _status(fields, self._clock.board_s)
        self.fresh += 1
        self.damage.add(0.0, 1.0)
        if before is not None and self.status.session == before.session:
            self.count_damaged(max(0, self.status.damaged - before.damaged))
        state = _state(fields, self.wiring, time_s, max(0.0, arrival_s - time_s))
        self.why = implausible(state, self.state, self._clock.board_s - before_s)
        if self.why:
            self.implausible += 1
            self.implausible_in_a_row += 1
            return
        self.implausible_in_a_row = 0
        self.state, self.arrival_s = state, arrival_s

    @property
    def period_s(self) -> float | None:
        """From one state to the next by the board's clock, averaged; None until it is known."""
        return self._period_s if self._periods == PERIODS else None

    def _average(self, period_s: float) -> None:
        self._periods = min(self._periods + 1, PERIODS)
        self._period_s += (period_s - self._period_s) / self._periods


def implausible(state: RobotState, before: RobotState | None, seconds: float) -> str:
    """Why a reading can't be true; empty if it can.

    Args:
        state: the reading.
        before: the last good one.
        seconds: between the two.
    """
    bounded = (
        ("motor angle", state.motor_angle_rad, ANGLE_RAD),
        ("motor velocity", state.motor_velocity_rad_s, VELOCITY_RAD_S),
        ("motor torque", state.motor_torque_nm, CURRENT_A),
        ("angular velocity", state.angular_velocity_rad_s, ANGULAR_VELOCITY_RAD_S),
        ("acceleration", state.acceleration_m_s2, ACCELERATION_M_S2),
    )
    for name, values, limit in bounded:
        largest = float(np.abs(values).max())
        if not largest <= limit:  # written so that NaN fails
            return f"{name} of {largest:g}"
    low, high = float(state.motor_temperature_c.min()), float(state.motor_temperature_c.max())
    if not (low >= TEMPERATURE_C[0] and high <= TEMPERATURE_C[1]):
        return f"motor temperature of {high:g} C"
    if not 0.0 <= state.battery_v <= BATTERY_V:
        return f"battery of {state.battery_v:g} V"
    norm = float(np.linalg.norm(state.attitude_xyzw))
    if not abs(norm - 1.0) <= QUATERNION_ERROR:
        return f"attitude quaternion of length {norm:g}"
    if before is not None:
        jump = float(np.abs(state.motor_angle_rad - before.motor_angle_rad).max())
        if jump > JUMP_RAD + VELOCITY_RAD_S * seconds:
            return f"an encoder's jump of {jump:g} rad in {seconds * 1e3:.0f} ms"
    return ""


def _status(fields: dict[str, Any], board_s: float) -> BoardStatus:
    mode = fields["mode"]
    return BoardStatus(
        fields["session"],
        fields["last_seq"],
        Mode(mode) if mode in (0, 1, 2) else Mode.OFF,
        fields["armed"] == 1,
        BoardFault(fields["faults"] & 0x1F),
        fields["refused"],
        fields["damaged"],
        board_s,
    )


def _state(fields: dict[str, Any], wiring: Wiring, time_s: float, age_s: float) -> RobotState:
    current = wiring.body_values(fields["current_a"])
    torque = np.sign(current) * np.interp(np.abs(current), CURRENT_TABLE_A, TORQUE_TABLE_NM)
    return RobotState(
        time_s=time_s,
        motor_angle_rad=wiring.body_angle(fields["angle_rad"]),
        motor_velocity_rad_s=wiring.body_values(fields["velocity_rad_s"]),
        motor_torque_nm=np.asarray(torque, dtype=np.float64),
        motor_temperature_c=wiring.body_order(fields["temperature_c"]),
        attitude_xyzw=np.array(fields["attitude_xyzw"]),
        angular_velocity_rad_s=np.array(fields["angular_velocity_rad_s"]),
        acceleration_m_s2=np.array(fields["acceleration_m_s2"]),
        battery_v=float(fields["battery_v"]),
        faults=faults_of(fields["faults"]),
        age_s=age_s,
    )

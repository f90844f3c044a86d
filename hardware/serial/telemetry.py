# SPDX-License-Identifier: MIT
"""Converts STATE frames to robot states: checks freshness and plausibility, and estimates age.

A frame is fresh if both its sequence number and the board's clock are newer than the last ones, so
a frozen, repeated or reordered stream never looks alive. An implausible reading (not finite, out of
range, a jump) is counted and dropped; `SerialRobot` raises `Implausible` after three in a row.
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
from walkhome.hardware.timing import LeakyBucket

CLOCK_WINDOW_S = 2.0
# Largest plausible readings; a Minitaur's motors reach 90 rad/s, and legs can turn many times.
ANGLE_RAD = 100.0
VELOCITY_RAD_S = 300.0
CURRENT_A = 500.0
TEMPERATURE_C = (-40.0, 200.0)
ANGULAR_VELOCITY_RAD_S = 50.0
ACCELERATION_M_S2 = 500.0
BATTERY_V = 60.0
QUATERNION_ERROR = 0.05
PERIODS = 50  # frames over which the period is averaged
DAMAGED_AT_ONCE = 8  # frames; at 100 Hz this trips before the silence of a lost link
DAMAGED_PER_GOOD = 0.25  # tolerates a steady fifth of damaged frames
JUMP_RAD = 0.5  # allowed beyond the motion at the largest velocity

_FAULTS = {
    BoardFault.TIMEOUT: Fault.TIMEOUT,
    BoardFault.ESTOP: Fault.ESTOP,
    BoardFault.OVERHEAT: Fault.OVERHEAT,
    BoardFault.BROWN_OUT: Fault.UNDERVOLTAGE,
    BoardFault.IMU: Fault.IMU,
}


def faults_of(bits: int) -> Fault:
    """Convert fault bits of the wire to `hardware.robot.Fault`."""
    fault = Fault.NONE
    for board, ours in _FAULTS.items():
        if bits & board:
            fault |= ours
    return fault


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardStatus:
    """State of the board itself, from a STATE frame.

    Attributes:
        session: session that the board accepts commands from.
        last_seq: sequence number of the last command it accepted.
        mode: state of its motors.
        armed: whether it executes commands.
        faults: latched fault bits.
        refused: number of commands it refused since it started.
        damaged: number of damaged frames it received since it started.
        board_s: its clock, unwrapped, s.
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
    """Number and period of received states.

    Attributes:
        states: number of states since the last reading.
        period_s: average time from one state to the next.
    """

    states: int
    period_s: float


class BoardClock:
    """Converts times of the board's clock to the host's.

    Assumes that the fastest frame of the last seconds took no time. The age of a frame is thus its
    delay beyond that of the fastest one; a constant delay can't be measured from one side (the
    round trip by `last_seq` shows it).

    Attributes:
        board_s: the board's clock at the newest frame, unwrapped.
    """

    def __init__(self) -> None:
        self.board_s = 0.0
        self._last_us: int | None = None
        self._least = math.inf
        self._least_before = math.inf
        self._window_end_s = -math.inf

    def newer(self, time_us: int) -> bool:
        """Whether a frame's time is later than the last one's (modulo 2^32)."""
        return self._last_us is None or 0 < (time_us - self._last_us) & 0xFFFFFFFF < 1 << 31

    def take(self, time_us: int, arrival_s: float) -> float:
        """Take a newer frame; return the time of its measurement on the host's clock, s."""
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
    """The newest state of a board, and statistics of the received frames.

    Args:
        wiring: order, signs and zeros of its motors.

    Attributes:
        wiring: as given.
        state: newest plausible reading, None before the first; its `age_s` is that at arrival.
        status: newest status of the board, also from frames with an implausible reading.
        arrival_s: when the newest plausible reading arrived, host's clock.
        fresh: number of fresh STATE frames.
        stale: number of STATE frames that were not newer than the one before.
        lost: number of frames missing in the sequence.
        damaged: number of damaged frames, received here or counted by the board.
        damage: detector of a too high rate of damaged frames.
        implausible: number of frames with an implausible reading.
        implausible_in_a_row: consecutive implausible readings up to now.
        why: what was wrong with the last reading; empty if it was plausible.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.state: RobotState | None = None
        self.status: BoardStatus | None = None
        self.arrival_s = -math.inf
        self.damaged = 0
        self.damage = LeakyBucket(limit=DAMAGED_AT_ONCE, leak=DAMAGED_PER_GOOD)
        self.fresh = self.stale = self.lost = 0
        self.implausible = self.implausible_in_a_row = 0
        self.why = ""
        self._clock = BoardClock()
        self._seq: int | None = None
        self._in_a_row = False  # whether the newest frame directly follows the one before
        self._periods, self._period_s = 0, 0.0

    def see(self, seq: int) -> bool:
        """Count a frame of any type by its sequence number; return whether it is newer."""
        gap = 1 if self._seq is None else (seq - self._seq) & 0xFFFF
        if not 0 < gap < 1 << 15:
            return False
        self._in_a_row = self._seq is not None and gap == 1
        self._seq = seq
        self.lost += gap - 1
        return True

    def listen_again(self) -> None:
        """Restart the sequence after a pause; frames missed meanwhile don't count as lost."""
        self._seq = None

    def count_damaged(self, pieces: int) -> None:
        """Add to the count of damaged pieces."""
        self.damaged += pieces
        self.damage.add(bad=pieces, good=0.0)

    def take(self, frame: Frame, arrival_s: float) -> None:
        """Process a STATE frame that arrived at `arrival_s` on the host's clock."""
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
        self.damage.add(bad=0.0, good=1.0)
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
        """Average time between states on the board's clock; None until enough have arrived."""
        return self._period_s if self._periods == PERIODS else None

    def _average(self, period_s: float) -> None:
        self._periods = min(self._periods + 1, PERIODS)
        self._period_s += (period_s - self._period_s) / self._periods


def implausible(state: RobotState, before: RobotState | None, seconds: float) -> str:
    """Why a reading is implausible; empty if it is plausible.

    Args:
        state: the reading.
        before: the last plausible reading; None if there is none.
        seconds: time between the two on the board's clock.
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
        session=fields["session"],
        last_seq=fields["last_seq"],
        mode=Mode(mode) if mode in (0, 1, 2) else Mode.OFF,
        armed=fields["armed"] == 1,
        faults=BoardFault(fields["faults"] & 0x1F),
        refused=fields["refused"],
        damaged=fields["damaged"],
        board_s=board_s,
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

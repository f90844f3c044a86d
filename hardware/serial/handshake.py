# SPDX-License-Identifier: MIT
"""Who is on the port: the answer to HELLO, checked, and a board's codes in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import RobotError
from walkhome.hardware.serial.protocol import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    SCHEMA_HASH,
    AckCode,
    BoardFault,
)
from walkhome.hardware.serial.telemetry import BoardStatus


class BoardRefused(RobotError):  # noqa: N818 - says what happened
    """What is on the port can't be used; the message says why and what to do."""


class WrongRobot(BoardRefused):
    """Another robot answers than before, or with another zero table."""

    code = "wrong_robot"


@dataclass(frozen=True)
class BoardIdentity:
    """Who answered HELLO, and what it allows.

    Attributes:
        robot_id: name of the robot.
        firmware: name and version.
        protocol: major and minor.
        zero_table: id of the zero table that it uses; 0 means none.
        boot: changes whenever it starts.
        angle_limit_rad: largest target magnitude.
        kp_limit: largest proportional gain.
        kd_limit: largest derivative gain.
        torque_limit_nm: largest torque cap.
        valid_limit_s: longest that it holds a command.
    """

    robot_id: str
    firmware: str
    protocol: tuple[int, int]
    zero_table: int
    boot: int
    angle_limit_rad: float
    kp_limit: float
    kd_limit: float
    torque_limit_nm: float
    valid_limit_s: float


def checked_identity(port: str, said: dict[str, Any], session: int) -> BoardIdentity:
    """Who answered, if it can be used.

    Args:
        port: for the message.
        said: fields of HELLO_ACK.
        session: that HELLO named.

    Raises:
        BoardRefused: another protocol, busy, or limits that can't be.
    """
    code, protocol = said["code"], (said["major"], said["minor"])
    if code == AckCode.WRONG_MAJOR or protocol[0] != PROTOCOL_MAJOR:
        raise BoardRefused(
            f"{port}: the board speaks protocol {protocol[0]}.{protocol[1]}, this program "
            f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}; flash the firmware/ that came with this program"
        )
    if code == AckCode.WRONG_SCHEMA or said["schema"] != SCHEMA_HASH:
        raise BoardRefused(
            f"{port}: the board's messages are other ones (schema {said['schema']:016x}, here "
            f"{SCHEMA_HASH:016x}); flash the firmware/ that came with this program"
        )
    if code == AckCode.BUSY:
        raise BoardRefused(f"{port}: the board is armed by another program; end that first")
    if code != AckCode.OK or said["session"] != session:
        raise BoardRefused(f"{port}: the board refuses to talk (code {code}); switch it off and on")
    if said["motors"] != N_MOTORS:
        raise BoardRefused(f"{port}: a board for {said['motors']} motors, not {N_MOTORS}")
    limits = ("angle_limit_rad", "kp_limit", "kd_limit", "torque_limit_nm", "valid_limit_ms")
    for name in limits:
        if not 0.0 < said[name] < 1e6:
            raise BoardRefused(f"{port}: the board says {name} = {said[name]}; mend its firmware")
    return BoardIdentity(
        _text(said["robot_id"]),
        _text(said["firmware"]),
        protocol,
        said["zero_table"],
        said["boot"],
        said["angle_limit_rad"],
        said["kp_limit"],
        said["kd_limit"],
        said["torque_limit_nm"],
        said["valid_limit_ms"] / 1e3,
    )


def _text(raw: bytes) -> str:
    """A fixed-size text of the wire; what is not printable is shown as a question mark."""
    text = raw.split(b"\0")[0].decode("ascii", "replace")
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)


def why_refused(ack: dict[str, Any]) -> str:
    """In words, from the fields of an ACK."""
    code = AckCode(ack["code"]) if ack["code"] in tuple(AckCode) else None
    if code is AckCode.FAULT_LATCHED:
        return f"a fault is latched ({BoardFault(ack['faults'] & 0x1F)!s})"
    return f"code {ack['code']}" if code is None else code.name.lower().replace("_", " ")


# Most severe first: the code is that of the first one that is set.
_STOPPED = {
    BoardFault.ESTOP: ("estop", "emergency stop"),
    BoardFault.BROWN_OUT: ("battery", "the battery is empty"),
    BoardFault.IMU: ("imu", "the IMU is lost"),
    BoardFault.OVERHEAT: ("overheat", "a motor strained too long"),
    BoardFault.TIMEOUT: ("board_timeout", "commands came too late"),
}


def why_stopped(status: BoardStatus, ours: bool) -> tuple[str, str]:
    """Code of the fault, and words, of a board that is not armed any more.

    Args:
        status: what it says.
        ours: whether it knows our session.
    """
    if not ours:
        return "board_reboot", "the board has forgotten this session; it started anew"
    why = [told for bit, told in _STOPPED.items() if status.faults & bit]
    code = why[0][0] if why else "disarmed"
    words = ", ".join(text for _, text in why) or "disarmed by somebody else"
    return code, f"the board let the motors go: {words}"

# SPDX-License-Identifier: MIT
"""Checks of the board's answer to HELLO, and the board's codes in words."""

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
    """No usable board on the port; the message says why and what to do."""


class WrongRobot(BoardRefused):
    """A different robot answers than before, or the same one with a different zero table."""

    code = "wrong_robot"


@dataclass(frozen=True, kw_only=True)
class BoardIdentity:
    """The board's answer to HELLO: identity and limits.

    Attributes:
        robot_id: name of the robot.
        firmware: name and version.
        protocol: major and minor version.
        zero_table: id of the board's zero table; 0 means none.
        boot: number that changes at every start of the board.
        angle_limit_rad: largest magnitude of a target.
        kp_limit: largest proportional gain, PWM duty per rad.
        kd_limit: largest derivative gain, PWM duty per rad/s.
        torque_limit_nm: largest torque cap.
        valid_limit_s: longest validity of a command.
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
    """Check the answer to HELLO and return the identity of the board.

    Args:
        port: name of the port, for messages.
        said: fields of HELLO_ACK.
        session: session number that HELLO carried.

    Raises:
        BoardRefused: another protocol or schema, armed by another program, or invalid limits.
    """
    code, protocol = said["code"], (said["major"], said["minor"])
    if code == AckCode.WRONG_MAJOR or protocol[0] != PROTOCOL_MAJOR:
        raise BoardRefused(
            f"{port}: the board speaks protocol {protocol[0]}.{protocol[1]}, this program "
            f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}; flash the firmware/ that came with this program"
        )
    if code == AckCode.WRONG_SCHEMA or said["schema"] != SCHEMA_HASH:
        raise BoardRefused(
            f"{port}: the board uses other messages (schema {said['schema']:016x}, here "
            f"{SCHEMA_HASH:016x}); flash the firmware/ that came with this program"
        )
    if code == AckCode.BUSY:
        raise BoardRefused(f"{port}: another program has armed the board; end that program first")
    if code != AckCode.OK or said["session"] != session:
        raise BoardRefused(
            f"{port}: the board refuses the session (code {code}); switch it off and on"
        )
    if said["motors"] != N_MOTORS:
        raise BoardRefused(f"{port}: the board drives {said['motors']} motors, not {N_MOTORS}")
    limits = ("angle_limit_rad", "kp_limit", "kd_limit", "torque_limit_nm", "valid_limit_ms")
    for name in limits:
        if not 0.0 < said[name] < 1e6:
            raise BoardRefused(
                f"{port}: the board reports {name} = {said[name]}; correct its firmware"
            )
    return BoardIdentity(
        robot_id=_text(said["robot_id"]),
        firmware=_text(said["firmware"]),
        protocol=protocol,
        zero_table=said["zero_table"],
        boot=said["boot"],
        angle_limit_rad=said["angle_limit_rad"],
        kp_limit=said["kp_limit"],
        kd_limit=said["kd_limit"],
        torque_limit_nm=said["torque_limit_nm"],
        valid_limit_s=said["valid_limit_ms"] / 1e3,
    )


def _text(raw: bytes) -> str:
    """Decode a fixed-size text of the wire; unprintable characters become question marks."""
    text = raw.split(b"\0")[0].decode("ascii", "replace")
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)


def why_refused(ack: dict[str, Any]) -> str:
    """Reason of a refusal in words, from the fields of an ACK."""
    code = AckCode(ack["code"]) if ack["code"] in tuple(AckCode) else None
    if code is AckCode.FAULT_LATCHED:
        return f"a fault is latched ({BoardFault(ack['faults'] & 0x1F)!s})"
    return f"code {ack['code']}" if code is None else code.name.lower().replace("_", " ")


# Most severe first: the first bit that is set gives the fault code.
_STOPPED = {
    BoardFault.ESTOP: ("estop", "emergency stop"),
    BoardFault.BROWN_OUT: ("battery", "the battery is empty"),
    BoardFault.IMU: ("imu", "the IMU is lost"),
    BoardFault.OVERHEAT: ("overheat", "a motor strained too long"),
    BoardFault.TIMEOUT: ("board_timeout", "commands came too late"),
}


def why_stopped(status: BoardStatus, ours: bool) -> tuple[str, str]:
    """Fault code and description for a board that is no longer armed.

    Args:
        status: its newest status.
        ours: whether the board knows this host's session.
    """
    if not ours:
        return "board_reboot", "the board has restarted and forgotten this session"
    why = [entry for bit, entry in _STOPPED.items() if status.faults & bit]
    code = why[0][0] if why else "disarmed"
    words = ", ".join(text for _, text in why) or "disarmed by another program"
    return code, f"the board let the motors go: {words}"

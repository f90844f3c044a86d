# SPDX-License-Identifier: MIT
"""`robot doctor`: lists serial ports; diagnoses the robot on one of them. No torque."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from walkhome.hardware.body import motor_to_leg
from walkhome.hardware.robot import LinkLost, Pose2D, RobotState
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.hardware.serial.protocol import BoardFault
from walkhome.hardware.timing import Lateness
from walkhome.robot.board.arming import Arming
from walkhome.robot.board.calibration import calibration_path
from walkhome.robot.board.ports import describe, ports
from walkhome.robot.board.pose_sources import make_pose
from walkhome.robot.board.session import OpenBoard, arming_memory, open_board
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import WallClock

TIMING_S = 5.0
"""How long the link is measured by default."""

PING_EVERY_S = 0.05


def list_all_ports() -> dict[str, Any]:
    """Return the serial ports of this machine and advice for each, for JSON."""
    return {"ports": [{**vars(port), "advice": port.advice()} for port in ports()]}


def examine(
    config: Config,
    port: str,
    release: bool = False,
    seconds: float = TIMING_S,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Measure the link for some seconds, then examine the robot as before arming.

    Args:
        config: body, limits and pose source.
        port: serial port of the board.
        release: whether to clear the board's emergency stop first.
        seconds: how long to measure the link, s.
        stopped: asked repeatedly; True ends the measurement early.

    Returns:
        Port, board, sensors, link timing and `findings`, for JSON; `ready` is True if the robot
        could be armed.

    Raises:
        RobotError: port, board, calibration file, lease or pose source can't be used.
        OSError: there is no such port.
    """
    board = open_board(config, port, "robot doctor")
    try:
        if release:
            board.robot.clear_faults()
        guard = make_pose(config.board.pose, board.robot)
        table = None if board.calibration is None else board.calibration.zero_table
        clock = WallClock(config.control.rate_hz)
        memory = arming_memory(board.identity.robot_id)
        arming = Arming(board.robot, guard, config, table, clock, memory=memory)
        timing = _measure_link(board, guard.latest, seconds, stopped)
        findings = arming.examine()
        status = board.robot.telemetry.status
        pose = guard.latest()
        found = describe(port)
        return {
            "port": {**vars(found), "advice": found.advice()},
            "low_latency_mode": board.robot.low_latency,
            "board": _board_fields(board),
            "faults": str(BoardFault.NONE if status is None else status.faults),
            "pose": {"source": config.board.pose, **_pose_fields(pose)},
            **_sensor_fields(board),
            "timing": timing,
            "findings": [{"code": f.code, "text": f.text} for f in findings],
            "ready": not findings,
        }
    finally:
        board.robot.close()


def _board_fields(board: OpenBoard) -> dict[str, Any]:
    """Identity of the board, and its calibration."""
    calibration = board.calibration
    return {
        **vars(board.identity),
        "calibration": None
        if calibration is None
        else {"date": calibration.date, "zero_table": calibration.zero_table},
        "calibration_file": str(calibration_path(board.identity.robot_id)),
    }


def _pose_fields(pose: Pose2D) -> dict[str, Any]:
    place = {"x_m": pose.x_m, "y_m": pose.y_m, "yaw_rad": pose.yaw_rad}
    return {"ok": pose.ok, **(place if math.isfinite(pose.time_s) else {})}


def _sensor_fields(board: OpenBoard) -> dict[str, Any]:
    state = board.robot.telemetry.state
    if state is None:
        raise LinkLost(f"{board.robot.port}: no telemetry; check cable and power")
    roll, pitch, _ = roll_pitch_yaw(state.attitude_xyzw)
    swing, extension = motor_to_leg(state.motor_angle_rad)
    return {
        "battery_v": state.battery_v,
        "temperature_c": state.motor_temperature_c.tolist(),
        "legs": {"swing_rad": swing.tolist(), "extension_rad": extension.tolist()},
        "imu": {
            "roll_rad": roll,
            "pitch_rad": pitch,
            "gravity_m_s2": float(np.linalg.norm(state.acceleration_m_s2)),
            "rates_rad_s": state.angular_velocity_rad_s.tolist(),
        },
    }


def _measure_link(
    board: OpenBoard, pose: Callable[[], Pose2D], seconds: float, stopped: Callable[[], bool]
) -> dict[str, Any]:
    """Measure the gaps between telemetry frames and the round trips of pings, s."""
    robot = board.robot
    gaps, trips, arrivals = Lateness(), Lateness(), [math.nan]

    def arrived(state: RobotState) -> None:
        now_s = time.monotonic()
        if math.isfinite(arrivals[0]):
            gaps.add(now_s - arrivals[0])
        arrivals[0] = now_s

    heard = robot.telemetry
    fresh, lost = heard.fresh, heard.lost
    robot.listeners.append(arrived)
    begin_s = next_ping_s = time.monotonic()
    try:
        while (now_s := time.monotonic()) < begin_s + seconds and not stopped():
            if now_s >= next_ping_s:
                next_ping_s = now_s + PING_EVERY_S
                trips.add(robot.ping())
            robot.pump(next_ping_s - time.monotonic())
            pose()
    finally:
        robot.listeners.remove(arrived)
    took_s = time.monotonic() - begin_s
    return {
        "seconds": took_s,
        "frames_per_s": (heard.fresh - fresh) / max(took_s, 1e-9),
        "lost": heard.lost - lost,
        "gap": gaps.summary(),
        "gap_histogram": gaps.rows(),
        "round_trip": trips.summary(),
    }


def format_report(result: dict[str, Any]) -> str:
    """Format the result of `examine` as text for people."""
    board, timing, imu = result["board"], result["timing"], result["imu"]
    calibration = board["calibration"]
    calibrated = (
        "never calibrated here"
        if calibration is None
        else f"calibrated {calibration['date']} on zero table {calibration['zero_table']}"
    )
    major, minor = board["protocol"]
    gap, trip = timing["gap"], timing["round_trip"]
    lines = [
        f"port         {result['port']['by_id']}"
        + (" (low latency)" if result["low_latency_mode"] else ""),
        f"robot        {board['robot_id']}, {board['firmware']}, protocol {major}.{minor}",
        f"zero table   {board['zero_table']} on the board; {calibrated}",
        f"battery      {result['battery_v']:.1f} V",
        f"motors       {max(result['temperature_c']):.0f} C at most; faults: {result['faults']}",
        f"imu          roll {math.degrees(imu['roll_rad']):.1f}, pitch "
        f"{math.degrees(imu['pitch_rad']):.1f} degrees, {imu['gravity_m_s2']:.2f} m/s2",
        f"pose         {result['pose']['source']}: "
        + (
            "x {x_m:.2f} m, y {y_m:.2f} m, yaw {yaw_rad:.2f} rad".format(**result["pose"])
            if result["pose"]["ok"]
            else "unknown"
        ),
        f"telemetry    {timing['frames_per_s']:.0f} frames/s, {timing['lost']} lost; gaps p50 "
        f"{gap['p50_ms']:.1f}, p99 {gap['p99_ms']:.1f}, max {gap['max_ms']:.1f} ms",
        f"round trip   p50 {trip['p50_ms']:.1f}, p99 {trip['p99_ms']:.1f}, max "
        f"{trip['max_ms']:.1f} ms",
        *_histogram(timing["gap_histogram"]),
        *(f"advice       {advice}" for advice in result["port"]["advice"]),
    ]
    if result["ready"]:
        lines.append("ready        every check before arming passed")
    lines += [f"NOT READY    [{f['code']}] {f['text']}" for f in result["findings"]]
    return "\n".join(lines)


def _histogram(rows: list[tuple[float, float, int]]) -> list[str]:
    most = max((count for _, _, count in rows), default=0)
    return [
        f"  gap {1e3 * low:8.2f} to {1e3 * high:8.2f} ms {count:6d} "
        f"{'#' * round(40 * count / most)}".rstrip()
        for low, high, count in rows
    ]

# SPDX-License-Identifier: MIT
"""`robot learn --dry-run`: everything but torque.

Handshake, calibration, lease, pose, all checks, the proof of the time-out; then the control loop
at its rate for a few seconds: read, observe, a fresh policy, filter, limits. What would be sent is
only looked at. The board is never armed but for the proof, in which its motors are off.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from walkhome.hardware.robot import LinkLost, MotorCommand
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.timing import Lateness
from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.board.arming import Arming, NotReady
from walkhome.robot.board.arming import told as told_findings
from walkhome.robot.board.pose_sources import make_pose
from walkhome.robot.board.session import memory_of, open_board
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import WallClock
from walkhome.robot.control.plant import Actuator, Rig
from walkhome.robot.control.stop_request import StopRequest
from walkhome.robot.mdp.observation import Observer, observation_layout
from walkhome.robot.training.learner_factory import make_learner

SECONDS = 5.0


class _Mute:
    """A robot whose commands go nowhere."""

    def __init__(self, robot: Any) -> None:
        self._robot = robot
        self.commands = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._robot, name)

    def command(self, command: MotorCommand) -> MotorCommand:
        """Looked at, not sent."""
        if not np.isfinite(command.angle_rad).all():
            raise ValueError("a command is not finite")
        self.commands += 1
        return command


def dry_run(config: Config, port: str, stop: StopRequest) -> dict[str, Any]:
    """Try all that a run needs.

    Args:
        config: of the run.
        port: of the board.
        stop: asked every period.

    Returns:
        `ready`, `findings`, the board's identity, what was measured.

    Raises:
        RobotError: port, board, calibration, lease or pose source can't be used at all.
    """
    policy = make_learner(config).policy(config.tasks[0])
    board = open_board(config, port, "robot learn --dry-run")
    try:
        guard = make_pose(config.board.pose, board.robot)
        clock = WallClock(config.control.rate_hz)
        table = None if board.calibration is None else board.calibration.zero_table
        memory = memory_of(board.identity.robot_id)
        arming = Arming(board.robot, guard, config, table, clock, memory=memory)
        findings: list[Any] = []
        try:
            arming.first_look()
        except NotReady as refusal:
            findings = refusal.findings
        mute = _Mute(board.robot)
        acting = Lateness()
        missed = _drive(config, policy, Rig(mute, guard, clock), board.robot, acting, stop)
        return {
            "ready": not findings,
            "port": port,
            "robot_id": board.identity.robot_id,
            "findings": [{"code": f.code, "text": f.text} for f in findings],
            "told": told_findings(findings),
            "board_timeout_ms": 1e3 * arming.proof_s,
            "commands_not_sent": mute.commands,
            "lateness": clock.lateness.summary(),
            "state_to_command": acting.summary(),
            "skipped_periods": clock.skipped,
            "periods_without_telemetry": missed,
        }
    finally:
        board.robot.close()


def _drive(
    config: Config,
    policy: NumpyPolicy,
    rig: Rig,
    robot: SerialRobot,
    acting: Lateness,
    stop: StopRequest,
) -> int:
    """The loop of an episode, with nobody to obey it; periods without telemetry."""
    clock = rig.clock
    assert isinstance(clock, WallClock)
    actuator, observer = (
        Actuator(rig, config),
        Observer(observation_layout(config.control), rig.robot.body),
    )
    robot.wait_for_state()  # imports have taken their time
    state = robot.telemetry.state or rig.robot.read()
    filtered = actuator.start(state)
    observation = observer.reset(state, filtered)
    missed = 0
    end_s = time.monotonic() + SECONDS
    clock.restart()
    while time.monotonic() < end_s and not stop.requested:
        clock.tick()
        begin_s = time.monotonic()
        try:
            state = rig.robot.read()
        except LinkLost:
            missed += 1  # a run would stop the robot here, and arm it again
            continue
        observation = observer.observe(state, filtered)
        filtered, _ = actuator.act(policy.act(observation, deterministic=True), state)
        acting.add(time.monotonic() - begin_s)
    return missed


def told(result: dict[str, Any]) -> str:
    """For people."""
    late, acting = result["lateness"], result["state_to_command"]
    lines = [
        f"robot {result['robot_id']!r} on {result['port']}",
        "every check before arming passed" if result["ready"] else f"not ready: {result['told']}",
    ]
    if result["ready"]:
        lines.append(f"the board stops by itself: {result['board_timeout_ms']:.0f} ms of silence")
    lines += [
        f"{result['commands_not_sent']} commands made and not sent",
        f"lateness {_three(late)}; {result['skipped_periods']} periods skipped, "
        f"{result['periods_without_telemetry']} without telemetry",
        f"state to command {_three(acting)}",
    ]
    return "\n".join(lines)


def _three(times: dict[str, float]) -> str:
    return (
        f"p50 {times['p50_ms']:.2f} ms, p99 {times['p99_ms']:.2f} ms, max {times['max_ms']:.2f} ms"
    )

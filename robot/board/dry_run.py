# SPDX-License-Identifier: MIT
"""`robot learn --dry-run`: everything but torque.

Handshake, calibration, lease, pose, all checks, and the proof of the board's time-out; then the
control cycle at its rate for a few seconds with a fresh policy: read, observe, act, filter, limit.
The commands are made and not sent. The board is armed for the proof only, with its motors off.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from walkhome.hardware.robot import LinkLost, MotorCommand, RobotState
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.timing import Lateness
from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.board.arming import Arming, NotReady, format_findings
from walkhome.robot.board.plant import BoardPlant
from walkhome.robot.board.pose_sources import make_pose
from walkhome.robot.board.session import memory_of, open_board
from walkhome.robot.config.schema import Config
from walkhome.robot.control.actuator import ActionPath, Actuator
from walkhome.robot.control.clock import WallClock
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.control.stop_request import StopRequest
from walkhome.robot.control.target import Done, Target
from walkhome.robot.mdp.observation import Observer, observation_layout
from walkhome.robot.training.learner_factory import make_learner

SECONDS = 5.0


class _MutedRobot:
    """A board whose commands go nowhere, and whose missing telemetry is counted.

    Attributes:
        commands: commands that were made and not sent.
        missed: periods without new telemetry.
        state_to_command: time from the measurement to the command.
    """

    def __init__(self, robot: SerialRobot) -> None:
        self._robot, self.body = robot, robot.body
        self._state: RobotState | None = robot.telemetry.state
        self._read_s = time.monotonic()
        self.commands = self.missed = 0
        self.state_to_command = Lateness()

    def read(self) -> RobotState:
        """The newest measurement; an old one where a run would stop the robot.

        Raises:
            LinkLost: there was none yet.
        """
        self._read_s = time.monotonic()
        try:
            self._state = self._robot.read()
        except LinkLost:
            if self._state is None:
                raise
            self.missed += 1
        return self._state

    def command(self, command: MotorCommand) -> MotorCommand:
        """Count a command instead of sending it.

        Raises:
            ValueError: it is not finite.
        """
        if not np.isfinite(command.angle_rad).all():
            raise ValueError("a command is not finite")
        self.commands += 1
        self.state_to_command.add(time.monotonic() - self._read_s)
        return command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._robot, name)


class _Rehearsing:
    """Acts as a deterministic policy does, for some seconds."""

    phase = Phase.REPLAYING

    def __init__(
        self, config: Config, policy: NumpyPolicy, robot: SerialRobot, stop: StopRequest
    ) -> None:
        self._path = ActionPath(robot.body, config.control)
        self._observer = Observer(observation_layout(config.control), robot.body)
        self._policy, self._stop = policy, stop

    def start(self, state: RobotState) -> None:
        """Begin at the measured posture."""
        self._observation = self._observer.reset(state, self._path.reset(state))
        self._end_s = time.monotonic() + SECONDS

    def step(self, state: RobotState, time_s: float) -> Target | Done:
        """The policy's action for the newest observation."""
        if time.monotonic() >= self._end_s or self._stop.requested:
            return Done()
        return self._path.target(self._policy.act(self._observation, deterministic=True))

    def check(self, period: Period) -> Period:
        """Observe."""
        assert period.target is not None
        assert period.target.filtered is not None
        self._observation = self._observer.observe(period.state, period.target.filtered)
        return period


def dry_run(config: Config, port: str, stop: StopRequest) -> dict[str, Any]:
    """Try everything that a run needs.

    Args:
        config: configuration of the run.
        port: serial port of the board.
        stop: asked every period; a request ends it.

    Returns:
        `ready`, `findings`, the board's identity and the measured times.

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
        board.robot.wait_for_state()  # imports have taken their time
        muted = _MutedRobot(board.robot)
        plant = BoardPlant(muted, guard, clock, config, arming)  # type: ignore[arg-type]
        # Nothing is sent, so no motor can follow its commands: the path without the monitor.
        plant.actuator = Actuator(muted, clock.period_s, 0.0)
        # The action filter loads SciPy, which takes seconds: before the clock starts.
        rehearsing = _Rehearsing(config, policy, board.robot, stop)
        clock.restart()
        ControlCycle(plant, config.episode).run(rehearsing)
        return {
            "ready": not findings,
            "port": port,
            "robot_id": board.identity.robot_id,
            "findings": [{"code": f.code, "text": f.text} for f in findings],
            "told": format_findings(findings),
            "board_timeout_ms": 1e3 * arming.proof_s,
            "commands_not_sent": muted.commands,
            "lateness": clock.lateness.summary(),
            "state_to_command": muted.state_to_command.summary(),
            "skipped_periods": clock.skipped,
            "periods_without_telemetry": muted.missed,
        }
    finally:
        board.robot.close()


def format_dry_run(result: dict[str, Any]) -> str:
    """The result as text for people."""
    late, acting = result["lateness"], result["state_to_command"]
    lines = [
        f"robot {result['robot_id']!r} on {result['port']}",
        "every check before arming passed" if result["ready"] else f"not ready: {result['told']}",
    ]
    if result["ready"]:
        lines.append(f"the board stops by itself: {result['board_timeout_ms']:.0f} ms of silence")
    lines += [
        f"{result['commands_not_sent']} commands made and not sent",
        f"lateness {_percentiles(late)}; {result['skipped_periods']} periods skipped, "
        f"{result['periods_without_telemetry']} without telemetry",
        f"state to command {_percentiles(acting)}",
    ]
    return "\n".join(lines)


def _percentiles(times: dict[str, float]) -> str:
    return (
        f"p50 {times['p50_ms']:.2f} ms, p99 {times['p99_ms']:.2f} ms, max {times['max_ms']:.2f} ms"
    )

# SPDX-License-Identifier: MIT
"""`robot learn --dry-run`: everything that a run needs, without torque.

    handshake, lease, calibration, pose source --> examination --> proof of the board's time-out
    --> some seconds of the control cycle with an untrained policy

The control cycle reads, observes, acts, filters and limits at its rate, but its commands are not
sent. The board is armed only for the proof of its time-out, with its motors off.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from walkhome.hardware.robot import LinkLost, MotorCommand, RobotState
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.timing import Lateness
from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.board.arming import Arming
from walkhome.robot.board.examination import NotReady, format_findings
from walkhome.robot.board.plant import BoardPlant
from walkhome.robot.board.pose_sources import make_pose
from walkhome.robot.board.session import arming_memory, open_board
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
"""Length of the control cycle's rehearsal."""


class _MutedRobot:
    """A robot whose commands are counted and not sent, and whose missing telemetry is counted.

    All else goes to the robot itself.

    Attributes:
        body: the robot's.
        commands: commands that were not sent.
        missed: periods without new telemetry.
        state_to_command: times from a reading to its command.
    """

    def __init__(self, robot: SerialRobot) -> None:
        self._robot, self.body = robot, robot.body
        self._state: RobotState | None = robot.telemetry.state
        self._read_s = time.monotonic()
        self.commands = self.missed = 0
        self.state_to_command = Lateness()

    def read(self) -> RobotState:
        """Return the newest measurement, also one so old that a run would stop the robot.

        Raises:
            LinkLost: no measurement has arrived yet.
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
            ValueError: the command is not finite.
        """
        if not np.isfinite(command.angle_rad).all():
            raise ValueError("a command is not finite")
        self.commands += 1
        self.state_to_command.add(time.monotonic() - self._read_s)
        return command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._robot, name)


class _Rehearsing:
    """Runs a deterministic policy for `SECONDS`, or until a stop request."""

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
        """Return the target of the policy's action for the newest observation."""
        if time.monotonic() >= self._end_s or self._stop.requested:
            return Done()
        return self._path.target(self._policy.act(self._observation, deterministic=True))

    def check(self, period: Period) -> Period:
        """Update the observation."""
        assert period.target is not None
        assert period.target.filtered is not None
        self._observation = self._observer.observe(period.state, period.target.filtered)
        return period


def dry_run(config: Config, port: str, stop: StopRequest) -> dict[str, Any]:
    """Try everything that a run needs, without torque.

    Args:
        config: configuration of the run.
        port: serial port of the board.
        stop: asked every period; a request ends the rehearsal early.

    Returns:
        For JSON: `ready`, `findings` (why not), robot id, measured times (ms) and counts.

    Raises:
        RobotError: port, board, calibration, lease or pose source can't be used at all.
    """
    policy = make_learner(config).policy(config.tasks[0])
    board = open_board(config, port, "robot learn --dry-run")
    try:
        guard = make_pose(config.board.pose, board.robot)
        clock = WallClock(config.control.rate_hz)
        table = None if board.calibration is None else board.calibration.zero_table
        memory = arming_memory(board.identity.robot_id)
        arming = Arming(board.robot, guard, config, table, clock, memory=memory)
        findings: list[Any] = []
        try:
            arming.check_ready()
        except NotReady as refusal:
            findings = refusal.findings
        # Made before the cycle needs telemetry: its action filter loads SciPy, which takes seconds.
        rehearsing = _Rehearsing(config, policy, board.robot, stop)
        board.robot.wait_for_state()  # telemetry that waited in the port's queue is too old
        muted = _MutedRobot(board.robot)
        plant = BoardPlant(muted, guard, clock, config, arming)  # type: ignore[arg-type]
        # Without the monitor: nothing is sent, so no motor could follow its commands.
        plant.actuator = Actuator(muted, clock.period_s, 0.0)
        clock.restart()
        ControlCycle(plant, config.episode).run(rehearsing)
        return {
            "ready": not findings,
            "port": port,
            "robot_id": board.identity.robot_id,
            "findings": [{"code": f.code, "text": f.text} for f in findings],
            "reasons": format_findings(findings),
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
    """Format the result of `dry_run` as text for people."""
    late, acting = result["lateness"], result["state_to_command"]
    lines = [
        f"robot {result['robot_id']!r} on {result['port']}",
        "every check before arming passed"
        if result["ready"]
        else f"not ready: {result['reasons']}",
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

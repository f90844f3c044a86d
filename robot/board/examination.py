# SPDX-License-Identifier: MIT
"""Examines a board's robot before it is armed: looks at it for a moment, without torque.

    telemetry and poses of up to a second --> ArmingSnapshot --> safety.arming.check --> findings

A robot that has lain still since it was switched on must meet the limits of `ArmingLimits`. After
it was armed once, it may lie as it fell, so `limits_after_fall` apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from walkhome.hardware.pose.guard import PoseGuard
from walkhome.hardware.robot import Fault, RobotError, RobotState
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.serial.protocol import BoardFault
from walkhome.hardware.serial.telemetry import faults_of
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import WallClock
from walkhome.safety.arming import ArmingLimits, ArmingSnapshot, Finding, check
from walkhome.safety.supervisor.client import validity_s
from walkhome.safety.supervisor.manager import estop_reason

LOOK_S = 1.0
"""Longest time of one look; 50 telemetry frames take half of it."""

PATIENCE_S = 3.0
"""Time in which findings that pass by themselves may do so; a limp robot comes to rest in two."""

TRIP_C = 80.0
"""Motor temperature at which a robot that was in use must not be armed again."""

BOARD_LIMITS = frozenset({"GAINS", "VALIDITY"})
"""Codes of findings: the board's limits are stricter than what would be asked of it."""

STAND_UP_KP, STAND_UP_KD = 1.2, 0.02
"""Largest gains of the stand-up scripts, PWM per rad and PWM per rad/s."""


class NotReady(RobotError):  # noqa: N818 - says what it is
    """A robot must not be armed; one line with all reasons.

    Args:
        where: the robot's port.
        findings: the reasons.

    Attributes:
        findings: as given.
    """

    def __init__(self, where: str, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        super().__init__(f"{where}: not armed: {format_findings(findings)}")


def format_findings(findings: Sequence[Finding]) -> str:
    """Format findings as one line: `[CODE] text; [CODE] text`."""
    return "; ".join(f"[{finding.code}] {finding.text}" for finding in findings)


def limits_after_fall(limits: ArmingLimits) -> ArmingLimits:
    """The limits for a robot that was armed before: it may be warm, tilted and not quite still."""
    return replace(
        limits,
        temperature_max_c=max(limits.temperature_max_c, TRIP_C),
        min_frames=15,
        tilt_max_rad=None,
        extension_rad=None,
        gyro_bias_rad_s=0.3,
        encoder_spread_rad=0.1,
        gravity_error_m_s2=2.5,
        gravity_direction_rad=0.6,
        max_loss=0.1,
    )


class RobotExaminer:
    """Finds the reasons why a robot must not be armed.

    Args:
        robot: the robot behind an open port.
        pose: its guarded pose source.
        config: gains, limits and the longest time without a command.
        known_zero_table: id of the board's zero table that the calibration was measured on; None
            without a calibration.
        clock: times the examination.
        estop: returns why an emergency stop is latched, empty if none is.
        fenced: whether a valid pose is required; not for a robot that stays where it is.

    Attributes:
        estop: as given.
        supervisor_alive: returns whether the supervisor runs; None while there is none.
        as_put_down: whether the robot has lain still since it was switched on; False selects
            `limits_after_fall`.
    """

    def __init__(
        self,
        robot: SerialRobot,
        pose: PoseGuard,
        config: Config,
        known_zero_table: int | None,
        clock: WallClock,
        estop: Callable[[], str] = estop_reason,
        fenced: bool = True,
    ) -> None:
        self.estop = estop
        self.supervisor_alive: Callable[[], bool] | None = None
        self.as_put_down = True
        self._robot, self._pose, self._config, self._clock = robot, pose, config, clock
        self._known_zero_table, self._fenced = known_zero_table, fenced
        board = config.board
        self._strict = ArmingLimits(
            battery_min_v=board.battery_min_v, temperature_max_c=board.temperature_max_c
        )

    def examine(self, stopped: Callable[[], bool] = lambda: False) -> list[Finding]:
        """Look at the robot once; return all reasons not to arm it.

        Faults of the board that may be cleared are cleared first, except an emergency stop.

        Args:
            stopped: asked with every frame; True cuts the look short.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has restarted and forgotten this session.
        """
        findings = check(self._snapshot(stopped), self._robot.body, self._limits())
        return [f for f in findings if self._fenced or not f.code.startswith("POSE")]

    def examine_patiently(self) -> list[Finding]:
        """Examine the robot until it passes, or until a finding can't pass any more.

        A robot that was just put down needs up to `PATIENCE_S` to come to rest.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has restarted and forgotten this session.
        """
        end_s = self._clock.now_s() + PATIENCE_S
        findings = self.examine()
        while any(finding.passes for finding in findings) and self._clock.now_s() < end_s:
            findings = self.examine()
        return findings

    def _limits(self) -> ArmingLimits:
        return self._strict if self.as_put_down else limits_after_fall(self._strict)

    def _snapshot(self, stopped: Callable[[], bool]) -> ArmingSnapshot:
        robot, identity, body = self._robot, self._robot.identity, self._robot.body
        faults = self._clear_faults()
        lost_before = robot.telemetry.lost
        states = self._listen(stopped)
        now_s = self._clock.now_s()
        pose = self._pose.latest()
        return ArmingSnapshot(
            states=states,
            lost=robot.telemetry.lost - lost_before,
            age_s=now_s - states[-1].time_s if states else float("inf"),
            faults=faults,
            board_zero_table=identity.zero_table,
            known_zero_table=self._known_zero_table,
            robot_id=identity.robot_id,
            kp=max(body.kp, STAND_UP_KP),
            kd=max(body.kd, STAND_UP_KD),
            kp_limit=identity.kp_limit,
            kd_limit=identity.kd_limit,
            valid_s=validity_s(self._clock.period_s, self._config.board.command_gap_s),
            valid_limit_s=identity.valid_limit_s,
            pose=pose if pose.time_s > float("-inf") else None,
            pose_age_s=now_s - pose.time_s,
            estop_latched=self.estop(),
            supervisor_alive=None if self.supervisor_alive is None else self.supervisor_alive(),
        )

    def _listen(self, stopped: Callable[[], bool]) -> list[RobotState]:
        """Collect fresh states, oldest first, until there are enough or `LOOK_S` have passed."""
        robot, min_frames = self._robot, self._limits().min_frames
        states: list[RobotState] = []
        robot.listeners.append(states.append)
        try:
            end_s = self._clock.now_s() + LOOK_S
            while self._clock.now_s() < end_s and len(states) < min_frames:
                if stopped():
                    break
                robot.pump(end_s - self._clock.now_s())
                self._pose.latest()  # the guard must see every pose, not only the last one
        finally:
            robot.listeners.remove(states.append)
        return states

    def _clear_faults(self) -> Fault:
        """Clear what may be cleared; return the faults that stay. People release an ESTOP."""
        self._robot.wait_for_state()
        status = self._robot.telemetry.status
        before = BoardFault.NONE if status is None else status.faults
        if before & BoardFault.ESTOP or not before:
            return faults_of(before)
        return faults_of(self._robot.clear_faults())

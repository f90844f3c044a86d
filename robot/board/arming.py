# SPDX-License-Identifier: MIT
"""Gets a board's robot ready to be commanded, at the start and again after every fault.

    look at it for a moment --> safety.arming.check --> clear faults --> prove its time-out --> arm

Nothing here gives torque before the last step. What may pass by itself is waited for; what can't is
told, all of it at once, and a person is needed. After a fault it arms again by itself, a limited
number of times (reliability facts: a robot that has to be caught again and again is not fine).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from walkhome.hardware.pose.guard import PoseGuard
from walkhome.hardware.robot import (
    Fault,
    Implausible,
    LinkLost,
    NotFit,
    RobotError,
    RobotState,
    RobotStopped,
)
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.serial.handshake import BoardRefused, WrongRobot
from walkhome.hardware.serial.link import PortRefused
from walkhome.hardware.serial.protocol import BoardFault
from walkhome.hardware.serial.telemetry import faults_of
from walkhome.robot.config.schema import Config
from walkhome.robot.control.board_stats import BoardStats
from walkhome.robot.control.clock import WallClock
from walkhome.safety.arming import ArmingLimits, ArmingSnapshot, Finding, check
from walkhome.safety.faults.budget import FaultBudget
from walkhome.safety.supervisor.client import SupervisorLost, validity_s
from walkhome.safety.supervisor.manager import SupervisorManager, estop_reason

LOOK_S = 1.0  # at most; 50 frames take half of it
AGAIN_S = 0.3
PATIENCE_S = 3.0  # a limp robot comes to rest in two
TRIP_C = 80.0  # where a Minitaur's motors are in danger (hardware facts)
_NOT_NOW = (LinkLost, RobotStopped, SupervisorLost)
LOOSE = {"GAINS", "VALIDITY"}  # findings: the board allows less than would be asked of it
STAND_UP_KP, STAND_UP_KD = 1.2, 0.02  # largest gains that the scripts ask for


class NotReady(RobotError):  # noqa: N818 - says what it is
    """A robot must not be armed; one line with all reasons.

    Attributes:
        findings: the same, one by one.
    """

    def __init__(self, where: str, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__(f"{where}: not armed: {format_findings(findings)}")


def format_findings(findings: list[Finding]) -> str:
    """Findings in one line."""
    return "; ".join(f"[{finding.code}] {finding.text}" for finding in findings)


def gentler(limits: ArmingLimits) -> ArmingLimits:
    """For a robot that was armed before: warm, as it fell, not quite still."""
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


class Arming:
    """Arms one robot.

    Args:
        robot: open.
        pose: its guarded pose source.
        config: limits and gains.
        known_zero_table: that its calibration was measured on; None without a calibration.
        clock: is started anew when the robot is ready.
        say: told what a person should know.
        estop: why an emergency stop holds, empty if none; asked at every look until the robot is
            guarded.
        fenced: whether a pose is needed; not for a robot that stays where it is.
        memory: a file that remembers which start of the board was armed last. A robot that has
            not been switched off since then may lie as it fell.

    Attributes:
        proof_s: how long the board's time-out took at the last proof.
        arms: times that it was armed.
        budget: the faults for which it had to be caught, and what is left of their budgets.
    """

    def __init__(
        self,
        robot: SerialRobot,
        pose: PoseGuard,
        config: Config,
        known_zero_table: int | None,
        clock: WallClock,
        say: Callable[[str], None] = lambda text: None,
        estop: Callable[[], str] = estop_reason,
        fenced: bool = True,
        memory: Path | None = None,
    ) -> None:
        self.proof_s = 0.0
        self.arms = 0
        self.budget = FaultBudget(clock.now_s, config.board.rearms_per_10_min)
        self.say = say
        self._robot, self._pose, self._config, self._fenced = robot, pose, config, fenced
        self._known_zero_table, self._clock, self._estop = known_zero_table, clock, estop
        self._lost = False
        self._manager: SupervisorManager | None = None
        self._own_stop = False  # our own supervisor's stop is latched on the board
        self._memory = memory
        self._fresh = not self._remembered()  # nothing is known of how the robot lies
        board = config.board
        self._limits = ArmingLimits(
            battery_min_v=board.battery_min_v, temperature_max_c=board.temperature_max_c
        )

    # -- looking -----------------------------------------------------------------------------------

    def examine(self, stopped: Callable[[], bool] = lambda: False) -> list[Finding]:
        """Look at the robot for a moment; all reasons not to arm it. No torque.

        Args:
            stopped: asked with every frame; the look is cut short when it says so.

        Raises:
            LinkLost: it does not answer.
            RobotStopped: the board has forgotten this session.
        """
        findings = check(self.snapshot(stopped), self._robot.body, self._now())
        return [f for f in findings if self._fenced or not f.code.startswith("POSE")]

    def look_patiently(self) -> list[Finding]:
        """As `examine`, and again while something may pass: a robot that was just put down."""
        end_s = self._clock.now_s() + PATIENCE_S
        findings = self.examine()
        while any(finding.passes for finding in findings) and self._clock.now_s() < end_s:
            findings = self.examine()
        return findings

    def snapshot(self, stopped: Callable[[], bool] = lambda: False) -> ArmingSnapshot:
        """What the checks look at; clears the faults that may be cleared.

        Args:
            stopped: see `examine`.

        Raises:
            LinkLost: it does not answer.
            RobotStopped: the board has forgotten this session.
        """
        robot, identity = self._robot, self._robot.identity
        faults = self._clear()
        states: list[RobotState] = []
        lost = robot.telemetry.lost
        robot.listeners.append(states.append)
        try:
            end_s = self._clock.now_s() + LOOK_S
            while self._clock.now_s() < end_s and len(states) < self._now().min_frames:
                if stopped():
                    break
                robot.pump(end_s - self._clock.now_s())
                self._pose.latest()  # so that it sees every pose, not only the last
        finally:
            robot.listeners.remove(states.append)
        now_s = self._clock.now_s()
        pose = self._pose.latest()
        body = robot.body
        return ArmingSnapshot(
            states=states,
            lost=robot.telemetry.lost - lost,
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
            estop_latched=self._estop(),
            supervisor_alive=None if self._manager is None else self._manager.alive(),
        )

    def _now(self) -> ArmingLimits:
        return self._limits if self._fresh else gentler(self._limits)

    def _clear(self) -> Fault:
        """Clear what passes by itself; what stays. An emergency stop is released by people only."""
        self._robot.wait_for_state()
        status = self._robot.telemetry.status
        before = BoardFault.NONE if status is None else status.faults
        if before & BoardFault.ESTOP or not before:
            return faults_of(before)
        return faults_of(self._robot.clear_faults())

    # -- arming ------------------------------------------------------------------------------------

    def first_look(self) -> None:
        """Refuse a robot that can't be armed now, before anything is written.

        Raises:
            NotReady: with all reasons.
            RobotError: it does not answer, or its board does not keep the protocol.
        """
        findings = self.look_patiently()
        if findings:
            raise NotReady(self._robot.port, findings)
        self.proof_s = self._robot.prove_timeout()

    def guard(self, manager: SupervisorManager) -> None:
        """From now on nothing is armed without this manager's supervisor.

        Raises:
            LinkLost: the port is gone.
        """
        self._robot.watched_by(manager)
        self._manager, self._estop = manager, manager.estop

    def ready(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the robot is armed; at once if it is.

        Args:
            stopped: asked all the time, and last right before the torque; may do some work of its
                own.

        Returns:
            False when somebody said stop, or a person is needed (which was said).

        Raises:
            WrongRobot: another one is on the port now.
            NotFit: its board has other limits now, and ours are looser.
        """
        if self._robot.armed:
            return True
        heard: set[str] = set()
        while not stopped():
            findings: list[Finding] = []
            try:
                findings = self._find_again(stopped)
                if stopped():
                    break
                problem = format_findings(findings) if findings else self._not_yet()
                if not problem:
                    self._clock.trace.mark("prove the time-out")
                    self.proof_s = self._robot.prove_timeout()
                    if stopped():
                        break
                    self._arm()
                    return True
            except WrongRobot:
                raise  # waiting for another cable is not for a program
            except (LinkLost, RobotStopped, Implausible, PortRefused, BoardRefused) as error:
                self._lost = True
                problem = str(error)
                self.budget.again(error)
            except SupervisorLost as error:
                problem = str(error)
            if findings and not all(finding.passes for finding in findings):
                self.say(f"a person is needed: {problem}")
                return False
            kinds = {finding.code for finding in findings} or {problem.split(" in ")[0]}
            if not kinds <= heard:  # their numbers change all the time
                self.say(f"waiting: {problem}")
                heard |= kinds
            self._clock.sleep(AGAIN_S)
        self._clock.restart()
        return False

    def _find_again(self, stopped: Callable[[], bool]) -> list[Finding]:
        """Whoever is on the port now, looked at."""
        self._renew_supervisor()
        if self._lost:
            self._fresh |= self._robot.reopen()
            self._lost = False
            self.say(f"{self._robot.port}: the board is back")
        self._release_own_stop()
        findings = self.examine(stopped)
        if LOOSE & {finding.code for finding in findings}:
            raise NotFit(f"{self._robot.port}: {format_findings(findings)}", "unsafe_limits")
        return findings

    def _not_yet(self) -> str:
        """Why a robot that is fit is not armed yet: its last faults want a pause; empty if not."""
        self.budget.gone()
        wait_s = self.budget.wait_s()
        return f"{self.budget.waiting_for()}: armed again in {wait_s:.0f} s" if wait_s else ""

    def _renew_supervisor(self) -> None:
        if self._manager is not None:
            self._own_stop |= self._manager.renew()

    def _release_own_stop(self) -> None:
        """Release the board's stop if our supervisor latched it, because commands stayed away."""
        if self._own_stop and not self._estop():
            self._robot.clear_faults()
            self._own_stop = False

    def _remembered(self) -> bool:
        if self._memory is None or not self._memory.is_file():
            return False
        return self._memory.read_text(encoding="utf-8") == self._start()

    def _start(self) -> str:
        identity = self._robot.identity
        return f"boot {identity.boot}, zero table {identity.zero_table}\n"

    def _arm(self) -> None:
        mark = self._clock.trace.mark
        if self._memory is not None:
            self._memory.write_text(self._start(), encoding="utf-8")
        mark("arm")
        self._robot.arm()
        self._fresh = False
        self.arms += 1
        self._clock.restart()
        self._clock.trace.mark("armed")

    # -- faults ------------------------------------------------------------------------------------

    def fault(self, error: RobotError) -> bool:
        """Note that the robot had to be caught; `budget.last` is what came of it.

        Returns:
            Whether it may be armed again by itself, in a while; else why not was said.
        """
        needs_person = self.budget.report(error)
        if isinstance(error, (LinkLost, RobotStopped)):
            self._lost = True  # shake hands again: who is there, and did it start anew?
        with contextlib.suppress(*_NOT_NOW):  # else `ready` does, unless this was the end
            self._renew_supervisor()
            self._release_own_stop()
        if error.code == "estop" and (reason := self._estop()):
            needs_person = f"[ESTOP] emergency stop: {reason}"  # who, and when
        if needs_person:
            self.say(f"a person is needed: {needs_person}")
        return not needs_person

    def summary(self) -> dict[str, Any]:
        """How the board did, for summary.json."""
        return {
            "robot_id": self._robot.identity.robot_id,
            "armed": self.arms,
            "faults": dict(self.budget.counts),
            "budgets": self.budget.used(),
            "reconnects": self._robot.reconnects,
            "board_timeout_ms": 1e3 * self.proof_s,
            "round_trip_ms": 1e3 * self._robot.round_trip_s,
            "telemetry": self._robot.counts(),
            "poses_refused": dict(self._pose.refusals),
            "supervisor": None if self._manager is None else self._manager.summary(),
            "achieved_hz": self._clock.achieved_hz,
            "skipped_periods": self._clock.skipped,
            "lateness": self._clock.lateness.summary(),
            "lateness_histogram": [
                {"from_ms": 1e3 * low, "to_ms": 1e3 * high, "ticks": count}
                for low, high, count in self._clock.lateness.rows()
            ],
            "link_losses": self.budget.counts.get("link_lost", 0),
            "telemetry_age": self._robot.ages.summary(),
            "state_to_command": self._robot.latencies.summary(),
            "longest_silences": self._clock.trace.worst,
        }

    def stats(self) -> BoardStats:
        """The same at a glance, for the view."""
        late, ages = self._clock.lateness, self._robot.ages
        return BoardStats(
            rate_hz=self._clock.achieved_hz,
            late_p99_ms=1e3 * late.quantile(0.99),
            late_max_ms=1e3 * late.worst_s,
            skipped_periods=self._clock.skipped,
            telemetry_age_ms=1e3 * ages.quantile(0.99),
            lost_frames=self._robot.counts()["lost"],
            link_losses=self.budget.counts.get("link_lost", 0),
            budgets={
                code: (one["used"], one["budget"]) for code, one in self.budget.used().items()
            },
            supervisor_cuts=0 if self._manager is None else self._manager.cuts,
        )

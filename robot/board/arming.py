# SPDX-License-Identifier: MIT
"""Arms a board's robot, at the start and again after every fault.

    examine (`board.examination`) --> clear faults --> prove the board's time-out --> arm

No torque is given before the last step. Findings that can pass by themselves are waited for. Any
other finding needs a person, who gets all of them at once. After a fault the robot is armed again
automatically, but only as often as the budget of `safety.faults.budget` allows: repeated faults
point to a defect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from walkhome.hardware.pose.guard import PoseGuard
from walkhome.hardware.robot import Implausible, LinkLost, NotFit, RobotError, RobotStopped
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.serial.handshake import BoardRefused, WrongRobot
from walkhome.hardware.serial.link import PortRefused
from walkhome.robot.board.examination import (
    BOARD_LIMITS,
    NotReady,
    RobotExaminer,
    format_findings,
)
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import WallClock
from walkhome.safety.arming import Finding
from walkhome.safety.faults.budget import FaultBudget
from walkhome.safety.supervisor.client import SupervisorLost
from walkhome.safety.supervisor.manager import SupervisorManager, estop_reason

RETRY_S = 0.3
"""Pause between two examinations of a robot that is not ready yet."""


class Arming:
    """Arms one robot, and accounts for its faults.

    Args:
        robot: the robot behind an open port.
        pose: its guarded pose source.
        config: gains, limits and the number of automatic re-armings.
        known_zero_table: id of the board's zero table that the calibration was measured on; None
            without a calibration.
        clock: paces the control periods; restarted whenever the robot becomes ready.
        say: called with messages for people.
        estop: returns why an emergency stop is latched, empty if none is; asked at every
            examination until `guard` replaces it.
        fenced: whether a valid pose is required; not for a robot that stays where it is.
        memory: file that holds the power-on of the board that was armed last. A robot that has not
            been switched off since then may lie as it fell. None: not remembered.

    Attributes:
        say: as given; may be replaced.
        proof_s: the board's time-out at its last proof, s.
        arms: how often the robot was armed.
        budget: the faults of the robot, and how many more may pass without a person.
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
        self.say = say
        self.proof_s = 0.0
        self.arms = 0
        self.budget = FaultBudget(clock.now_s, config.board.rearms_per_10_min)
        self._robot, self._clock, self._memory = robot, clock, memory
        self._examiner = RobotExaminer(robot, pose, config, known_zero_table, clock, estop, fenced)
        self._examiner.as_put_down = not self._armed_since_power_on()
        self._manager: SupervisorManager | None = None
        self._lost = False  # the port must be opened again
        self._own_stop = False  # the stop that is latched on the board came from our supervisor

    # -- arming ------------------------------------------------------------------------------------

    def examine(self) -> list[Finding]:
        """Return all reasons not to arm the robot; see `RobotExaminer.examine_patiently`.

        Raises:
            LinkLost: the board does not answer.
            RobotStopped: the board has restarted and forgotten this session.
        """
        return self._examiner.examine_patiently()

    def check_ready(self) -> None:
        """Examine the robot and prove the board's time-out, before a run writes anything.

        Raises:
            NotReady: the robot must not be armed now; the message has all reasons.
            RobotError: the board does not answer, or does not keep the protocol.
        """
        findings = self.examine()
        if findings:
            raise NotReady(self._robot.port, findings)
        self.proof_s = self._robot.prove_timeout()

    def guard(self, manager: SupervisorManager) -> None:
        """Require this manager's supervisor for every arming from now on.

        Raises:
            LinkLost: the port is gone.
        """
        self._robot.watched_by(manager)
        self._manager = manager
        self._examiner.estop = manager.estop
        self._examiner.supervisor_alive = manager.alive

    def ready(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the robot is armed; returns at once if it is.

        Args:
            stopped: asked repeatedly, the last time right before arming; True ends the wait. It may
                do some work of its own, such as polling the driver.

        Returns:
            Whether the robot is armed. False if `stopped` ended the wait, or if a person is needed
            (the reason went to `say`).

        Raises:
            WrongRobot: another robot is on the port now.
            NotFit: the board's limits are stricter now than what would be asked of it.
        """
        if self._robot.armed:
            return True
        reported: set[str] = set()
        while not stopped():
            findings: list[Finding] = []
            try:
                findings = self._examine_again(stopped)
                if stopped():
                    break
                problem = format_findings(findings) if findings else self._pause_left()
                if not problem:
                    self._clock.trace.mark("prove the time-out")
                    self.proof_s = self._robot.prove_timeout()
                    if stopped():
                        break
                    self._arm()
                    return True
            except WrongRobot:
                raise  # no wait can repair a swapped cable
            except (LinkLost, RobotStopped, Implausible, PortRefused, BoardRefused) as error:
                self._lost = True
                problem = str(error)
                self.budget.again(error)
            except SupervisorLost as error:
                problem = str(error)
            if findings and not all(finding.passes for finding in findings):
                self.say(f"a person is needed: {problem}")
                break
            # Compared without their numbers, which change all the time.
            kinds = {finding.code for finding in findings} or {problem.split(" in ")[0]}
            if not kinds <= reported:
                self.say(f"waiting: {problem}")
                reported |= kinds
            self._clock.sleep(RETRY_S)
        self._clock.restart()  # the wait is no lateness of the control loop
        return False

    def _examine_again(self, stopped: Callable[[], bool]) -> list[Finding]:
        """Restore supervisor and connection if they were lost, then examine the robot."""
        self._renew_supervisor()
        if self._lost:
            self._examiner.as_put_down |= self._robot.reopen()
            self._lost = False
            self.say(f"{self._robot.port}: the board is back")
        self._release_own_stop()
        findings = self._examiner.examine(stopped)
        if BOARD_LIMITS & {finding.code for finding in findings}:
            raise NotFit(f"{self._robot.port}: {format_findings(findings)}", "unsafe_limits")
        return findings

    def _pause_left(self) -> str:
        """Which faults still have to clear, and how long that takes; empty if none."""
        self.budget.gone()
        wait_s = self.budget.wait_s()
        return f"{self.budget.waiting_for()}: armed again in {wait_s:.0f} s" if wait_s else ""

    def _arm(self) -> None:
        if self._memory is not None:
            self._memory.write_text(self._power_on(), encoding="utf-8")
        self._clock.trace.mark("arm")
        self._robot.arm()
        self._examiner.as_put_down = False
        self.arms += 1
        self._clock.restart()
        self._clock.trace.mark("armed")

    def _armed_since_power_on(self) -> bool:
        if self._memory is None or not self._memory.is_file():
            return False
        return self._memory.read_text(encoding="utf-8") == self._power_on()

    def _power_on(self) -> str:
        """Identify the board's present power-on."""
        identity = self._robot.identity
        return f"boot {identity.boot}, zero table {identity.zero_table}\n"

    # -- faults ------------------------------------------------------------------------------------

    def fault(self, error: RobotError) -> bool:
        """Account for a fault; the robot was settled already. `budget.last` describes it.

        Returns:
            Whether the robot may be armed again without a person, after a pause; if not, the reason
            went to `say`.
        """
        needs_person = self.budget.report(error)
        if isinstance(error, (LinkLost, RobotStopped)):
            self._lost = True  # a new handshake tells whether the board has restarted
        # If this is not possible now, `ready` does it.
        with contextlib.suppress(LinkLost, RobotStopped, SupervisorLost):
            self._renew_supervisor()
            self._release_own_stop()
        if error.code == "estop" and (reason := self._examiner.estop()):
            needs_person = f"[ESTOP] emergency stop: {reason}"
        if needs_person:
            self.say(f"a person is needed: {needs_person}")
        return not needs_person

    def _renew_supervisor(self) -> None:
        if self._manager is not None:
            self._own_stop |= self._manager.renew()

    def _release_own_stop(self) -> None:
        """Release the board's stop if our supervisor latched it because commands were late."""
        if self._own_stop and not self._examiner.estop():
            self._robot.clear_faults()
            self._own_stop = False

    # -- summaries ---------------------------------------------------------------------------------

    @property
    def supervisor_cuts(self) -> int:
        """How often the supervisor cut the torque because commands were late."""
        return 0 if self._manager is None else self._manager.cuts

    def summary(self) -> dict[str, Any]:
        """Return how often the robot was armed, its faults, and its supervisor's counts."""
        return {
            "armed": self.arms,
            "faults": dict(self.budget.counts),
            "budgets": self.budget.used(),
            "board_timeout_ms": 1e3 * self.proof_s,
            "supervisor": None if self._manager is None else self._manager.summary(),
            "link_losses": self.budget.counts.get("link_lost", 0),
        }

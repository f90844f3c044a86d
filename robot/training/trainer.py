# SPDX-License-Identifier: MIT
"""The training loop: stand up, choose the task that walks home, roll out, learn, save.

This is section 3 of Ha et al. 2020 (arXiv 2002.08550); `_episode` is one round of it. The same loop
runs on the twin and on a board: `control.cycle` runs the control periods, `_on_period` handles
each of them. In lockstep each control step is followed by exactly `learning.updates_per_step`
gradient steps, so a run is a function of its configuration: killed anywhere and resumed, it gives
the same bytes (docs/run-folder.md). Whatever ends a run, the robot settles, the learner is saved
and the summary is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from walkhome.hardware.realtime import collect
from walkhome.hardware.robot import RobotError, Stop
from walkhome.learning.client import LearnerClient
from walkhome.learning.transition import Transition
from walkhome.robot.config.schema import Config
from walkhome.robot.control.cycle import ControlCycle, HandledFault
from walkhome.robot.control.cycle_trace import format_trace
from walkhome.robot.control.episode import Episodes, Step
from walkhome.robot.control.period import Period
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.reset import StandUpRoutine, check_carriable
from walkhome.robot.control.stop_request import StopRequest
from walkhome.robot.mdp.costs import cost_scale
from walkhome.robot.mdp.scheduler import check_tasks
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.monitor.view import View
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.checkpointing import Checkpointing
from walkhome.robot.training.disk_guard import DiskGuard
from walkhome.robot.training.episode_start import choose_start
from walkhome.robot.training.exploration import Exploration
from walkhome.robot.training.learner_factory import precision
from walkhome.robot.training.learner_process import start_learner
from walkhome.robot.training.recorder import Recorder
from walkhome.robot.training.run_time import RunTime
from walkhome.robot.training.statistics import RunStatistics
from walkhome.robot.training.training_log import TrainingLog
from walkhome.robot.training.training_status import status_of

StartLearner = Callable[[Config, Path], LearnerClient]
"""Starts the learner of a run, given its configuration and its folder; see `start_learner`."""

VIEW_EVERY_S = 0.25
"""Wall time between two updates of the view."""


class Trainer:
    """One run. Everything that evolves hangs on this object.

    Args:
        config: the resolved configuration.
        run: an open run folder.
        view: shows what happens.
        stop: asked every control step; a request ends the run.
        plant: the robot.
        resume: continue from the newest checkpoint of `run`.
        start: starts the learner.

    Raises:
        CheckpointInvalid: `resume` finds no checkpoint that can be used.
        ConfigError: the tasks can't be scheduled.
        RobotError: the configuration asks for what only the twin can do.
    """

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        view: View,
        stop: StopRequest,
        plant: Plant,
        resume: bool = False,
        start: StartLearner = start_learner,
    ) -> None:
        check_tasks(config.tasks, config.ablation.scheduler)
        check_carriable(config, plant)
        self._config, self._run, self._view, self._stop, self._plant = (
            config, run, view, stop, plant,
        )  # fmt: skip
        self._learner = start(config, run.path)
        self._statistics = RunStatistics.of(config.tasks)
        self._workspace = Workspace.of(config.workspace)
        self._cycle = ControlCycle(plant, config.episode, self._on_period, self._report_fault)
        self._routine = StandUpRoutine.of(config, self._cycle, self._stopped, self._make_ready)
        self._episodes = Episodes.of(config, plant, self._stopped)
        self._exploration = Exploration(
            config.learning,
            self._learner,
            {name: self._learner.policy(name) for name in config.tasks},
            np.random.default_rng([config.run.seed, 1]),
            lambda: self._statistics.steps,
        )
        self._run_time = RunTime()
        self._log = TrainingLog(
            config.terrain.name,
            config.run.seed,
            run,
            self._learner,
            self._statistics,
            self._run_time,
        )
        self._activity = "stand up"  # for the view
        self._task: str = config.tasks[0]
        self._next_view_s = 0.0
        self._next_checkpoint_s = config.run.checkpoint_every_s
        plant.report_to(view.message)
        policies = self._exploration.policies
        self._checkpointing = Checkpointing(run, config, self._learner, policies, view)
        self._resumed = resume and not self._checkpointing.is_new()
        try:
            records = self._checkpointing.resume(self.load_state_dict) if self._resumed else 0
            self._recorder = Recorder(
                run.journal, config.tasks, self._statistics, plant.clock.period_s, records
            )
        except BaseException:
            self._learner.close()
            raise
        self._disk = DiskGuard(
            run, self._recorder, view, lambda: plant.robot.stop(Stop.SETTLE), self._stopped
        )

    def run(self) -> dict[str, Any]:
        """Train until the robot minutes are spent, and return the summary.

        Raises:
            KeyboardInterrupt: a second signal came while the run was stopping; the torque was cut
                and nothing more was saved.
        """
        self._run.event(
            "learn_start",
            tasks=list(self._config.tasks),
            seed=self._config.run.seed,
            precision=precision(self._config),
        )
        if self._learner.slow_because:
            self._run.event("slow_backend", reason=self._learner.slow_because)
            self._view.message(f"learning slowly, by autograd: {self._learner.slow_because}")
        status = "failed"
        try:
            status = self._train()
        except KeyboardInterrupt:
            status = "cut"
            raise
        finally:
            self._plant.robot.stop(Stop.CUT if status == "cut" else Stop.SETTLE)
            try:
                summary = self._finish(status)
            finally:
                self._plant.robot.close()
                self._learner.close()
        return summary

    # -- the loop --------------------------------------------------------------------------------

    def _train(self) -> str:
        """Run episodes until the run is over; returns its status."""
        if not self._resumed:
            self._save(wait=True)  # from here on there is a checkpoint to resume from
        while not self._over:
            if not self._disk.go_on() or self._stop.requested:
                self._view.message("stopping: the robot settles and the run is saved")
                return "interrupted"
            result = self._cycle.attempt(self._episode)
            if isinstance(result, HandledFault):
                self._log_fault(result)
                result = "" if result.may_go_on else "needs_help"
            if result:
                return result
            if self._robot_s >= self._next_checkpoint_s:
                self._plant.trace.mark("checkpoint")
                self._next_checkpoint_s = self._robot_s + self._config.run.checkpoint_every_s
                self._save()
        # The process is about to end: nothing may be left in memory only.
        return "done" if self._disk.go_on(risk_s=0.0) else "interrupted"

    def _episode(self) -> str:
        """One round: stand up, choose the task, roll out, learn.

        Returns:
            The status that ends the run, or nothing.
        """
        if not self._stand_up():
            if self._stop.requested:
                return "interrupted"
            return "" if self._over else "needs_help"
        task = self._choose_task()
        self._activity, self._task = "episode", task
        self._exploration.begin(
            task, round(self._config.episode.length_s / self._plant.clock.period_s)
        )
        result = self._cycle.run(self._episodes.episode(task, self._exploration))
        self._plant.trace.mark("episode log")
        self._statistics.add(result)
        inside = self._workspace.contains(self._plant.place())
        self._statistics.see(inside, standing_up=False)
        scale = self._cost_scale(fell=False)
        self._learner.end_episode(task, np.multiply(result.counted_costs, scale))
        self._log.episode(result)
        self._plant.trace.mark("collect")
        collect()  # takes 0.1 ms, once an episode
        return ""

    def _stand_up(self) -> bool:
        """Get on its feet; whether it stands."""
        self._activity = "stand up"
        statistics = self._statistics
        begin_s = statistics.standing_up_s + statistics.waiting_s
        outcome = self._routine.stand_up()
        statistics.stand_ups_tried += outcome.attempts
        statistics.stand_ups_failed += outcome.failed
        self._run.event(
            "stand_up",
            robot_s=self._robot_s,
            seconds=statistics.standing_up_s + statistics.waiting_s - begin_s,
            attempts=outcome.attempts,
            ok=outcome.ok,
        )
        outcome.check()
        return outcome.ok

    def _make_ready(self) -> bool:
        """Have the robot armed before it stands up; the time that takes counts as waiting."""
        activity, self._activity = self._activity, "waiting"
        clock, statistics = self._plant.clock, self._statistics
        since_s = clock.now_s()

        def stopped() -> bool:
            nonlocal since_s
            now_s = clock.now_s()
            statistics.waiting_s += now_s - since_s
            since_s = now_s
            self._show()
            return self._stop.requested or self._over

        ready = self._plant.make_ready(stopped)
        stopped()
        self._activity = activity
        return ready

    def _choose_task(self) -> str:
        """The task of the next roll-out; without the scheduler a person may have to carry it."""
        start = choose_start(
            self._config.ablation.scheduler, self._plant, self._workspace, self._statistics
        )
        if start.carried_from is not None:
            place = [start.carried_from.x_m, start.carried_from.y_m]
            self._run.event("human_reset", robot_s=self._robot_s, place=place)
        return start.task

    # -- every control period --------------------------------------------------------------------

    def _on_period(self, period: Period) -> None:
        """Count, learn from, record and show one control period."""
        self._statistics.count(period)
        if period.step is not None:
            self._plant.trace.mark("learner")
            self._add_transition(period.step)
        self._plant.trace.mark("journal")
        self._recorder.record(period)
        if period.step is not None and self._statistics.steps >= self._config.learning.random_steps:
            self._plant.trace.mark("learner")
            self._learner.update(self._config.learning.updates_per_step)
        self._show()

    def _add_transition(self, step: Step) -> None:
        if step.ended == "stop":
            return
        self._learner.add(
            Transition(
                step.observation,
                step.action,
                step.rewards,
                step.costs * self._cost_scale(step.done),
                step.next_observation,
                step.done,
                step.task,
            )
        )

    def _cost_scale(self, fell: bool) -> float:
        config = self._config
        return cost_scale(config.constraint, config.learning.cost_discount, fell)

    def _show(self, force: bool = False) -> None:
        now_s = time.monotonic()
        if now_s < self._next_view_s and not force:
            return
        self._next_view_s = now_s + VIEW_EVERY_S
        self._plant.trace.mark("view")
        for text in self._learner.notices():
            self._view.message(text)
            self._run.event("learner", robot_s=self._robot_s, text=text)
        self._view.update(
            status_of(
                self._config.run.minutes,
                self._workspace,
                self._statistics,
                self._learner,
                self._plant,
                self._activity,
                self._task,
                self._run_time.wall_s,
            )
        )

    # -- faults ----------------------------------------------------------------------------------

    def _report_fault(self, error: RobotError, trace: list[dict[str, Any]]) -> None:
        self._view.message(f"the robot stops: {error}")
        if error.code == "control_silent":
            self._view.message(f"where the time went: {format_trace(trace)}")

    def _log_fault(self, fault: HandledFault) -> None:
        self._run.event(
            "fault",
            what=type(fault.error).__name__,
            **self._plant.fault_fields(),
            text=str(fault.error),
            goes_on=fault.may_go_on,
            robot_s=self._robot_s,
            timeline=fault.trace,
        )

    def _stopped(self) -> bool:
        return self._stop.requested

    @property
    def _robot_s(self) -> float:
        return self._statistics.total_s

    @property
    def _over(self) -> bool:
        return self._robot_s >= self._config.run.minutes * 60.0

    # -- saving and resuming ---------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that evolves, between two episodes; the state within an episode is not in it."""
        return {
            "records": self._recorder.records,
            "tally": self._statistics.state_dict(),
            "exploration": self._exploration.state_dict(),
            "resetter": self._routine.state_dict(),
            "robot": self._plant.state_dict(),
            "next_metric_s": self._log.next_metric_s,
            "next_checkpoint_s": self._next_checkpoint_s,
            "robot_s": self._robot_s,
            "spent": self._run_time.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a key is missing.
            ValueError: a value does not fit this run.
        """
        self._statistics.load_state_dict(state["tally"])
        self._exploration.load_state_dict(state["exploration"])
        self._routine.load_state_dict(state["resetter"])
        self._plant.load_state_dict(state["robot"])
        self._log.next_metric_s = float(state["next_metric_s"])
        self._next_checkpoint_s = float(state["next_checkpoint_s"])
        self._run_time.load_state_dict(state["spent"])

    def _save(self, wait: bool = False) -> None:
        state = self.state_dict()
        # A robot that stands on its feet can't wait for a disk.
        self._checkpointing.save(
            self._recorder.records,
            state,
            self._statistics.score,
            self._recorder.flush,
            wait=wait or self._config.learning.process != "free",
        )
        # Bullet's caches can't be saved. So that a resumed run can equal this one, this one too
        # continues from what was saved.
        self._plant.load_state_dict(state["robot"])

    def _finish(self, status: str) -> dict[str, Any]:
        try:
            if status not in ("failed", "cut"):  # else the last checkpoint is the one to resume
                ended, status = status, "failed"
                self._learner.drain()
                self._save(wait=True)
                status = ended
        finally:
            self._run.event("learn_end", status=status, robot_s=self._robot_s)
            self._recorder.close()
            summary = self._log.summary(status, self._plant)
            self._run.write_summary(summary)
            self._show(force=True)
        return summary

# SPDX-License-Identifier: MIT
"""The learning loop: stand up, choose the task that walks home, roll out, learn, again.

One loop for the twin in lockstep and for a board: clock, robot and pose come in a `Rig`. In
lockstep each control step is followed by exactly `updates_per_step` gradient steps, and a run is a
function of its configuration: killed anywhere and resumed, it gives the same bytes
(docs/run-folder.md). Whatever ends a run, the robot settles, the learner is saved and the summary
is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.realtime import collect
from walkhome.hardware.robot import RobotError, RobotState, Stop
from walkhome.learning.client import LearnerClient
from walkhome.learning.noise import coloured_noise
from walkhome.learning.policy import NumpyPolicy, PolicyInvalid
from walkhome.learning.transition import Transition
from walkhome.robot.config.schema import Config
from walkhome.robot.control.cycle_trace import told
from walkhome.robot.control.episode import Episodes, Step
from walkhome.robot.control.plant import ROBOT_FAULTS, Actuator, Restorable, Rig
from walkhome.robot.control.reset import Resetter, check_carriable
from walkhome.robot.control.stop_request import StopRequest
from walkhome.robot.mdp.costs import cost_scale
from walkhome.robot.mdp.observation import N_ACTIONS, Observer, observation_layout
from walkhome.robot.mdp.scheduler import check_tasks
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.monitor.view import View
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.checkpointing import Keeper
from walkhome.robot.training.disk_guard import DiskWatch
from walkhome.robot.training.episode_start import choose_start
from walkhome.robot.training.learner_factory import precision
from walkhome.robot.training.learner_process import start_learner
from walkhome.robot.training.recorder import Recorder
from walkhome.robot.training.run_time import Spent
from walkhome.robot.training.statistics import Tally
from walkhome.robot.training.training_log import LoopLog
from walkhome.robot.training.training_status import snapshot_of
from walkhome.safety.command.limits import UnsafeCommand

FloatArray = npt.NDArray[np.float64]

StartLearner = Callable[[Config, Path], LearnerClient]
"""As `start_learner`: what learns in a run, given its configuration and its folder."""

VIEW_EVERY_S = 0.25  # wall seconds


class LearningLoop:
    """One run. Everything that evolves hangs on this object."""

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        view: View,
        stop: StopRequest,
        rig: Rig,
        resume: bool = False,
        start: StartLearner = start_learner,
    ) -> None:
        check_tasks(config.tasks, config.ablation.scheduler)
        check_carriable(config, rig)
        self._config, self._run, self._view, self._stop, self._rig = config, run, view, stop, rig
        self._learner = start(config, run.path)
        # By whether the step was a fall.
        discount = config.learning.cost_discount
        self._cost_scales = tuple(
            cost_scale(config.constraint, discount, fell) for fell in (False, True)
        )
        self._policies: dict[str, NumpyPolicy] = {
            name: self._learner.policy(name) for name in config.tasks
        }
        # Exploration has its own stream, so that it does not depend on how the learner draws.
        self._rng = np.random.default_rng([config.run.seed, 1])
        self._tally = Tally.of(config.tasks)
        actuator = Actuator(rig, config)
        observer = Observer(observation_layout(config.control), rig.robot.body)
        self._episodes = Episodes(
            config, config.tasks, rig, actuator, observer, lambda: self._stop.requested
        )
        self._resetter = Resetter(
            *(config, rig, actuator, self._on_reset, self._stopped, self._ready),
            command_first=rig.real_time,
        )
        self._workspace = Workspace.of(config.workspace)
        self._spent = Spent()
        self._log = LoopLog(config, run, self._learner, self._tally, self._spent)
        self._next_view_s = 0.0
        self._next_checkpoint_s = config.run.checkpoint_every_s
        if rig.arming is not None:
            rig.arming.say = view.message
        self._task: str = config.tasks[0]
        self._phase = "stand up"
        self._noise, self._noise_step = np.zeros((0, N_ACTIONS)), 0
        self._keeper = Keeper(run, config, self._learner, self._policies, view)
        self._resumed = resume and not self._keeper.is_new()
        try:
            records = self._keeper.resume(self.load_state_dict) if self._resumed else 0
            period_s = rig.clock.period_s
            self._recorder = Recorder(run.journal, config.tasks, self._tally, period_s, records)
        except BaseException:
            self._learner.close()
            raise
        self._disk = DiskWatch(
            run, self._recorder, view, lambda: rig.robot.stop(Stop.SETTLE), self._stopped
        )

    def run(self) -> dict[str, Any]:
        """The whole run; returns the summary.

        Raises:
            KeyboardInterrupt: somebody insisted while it was stopping; nothing more was saved.
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
            status = self._learn()
        except KeyboardInterrupt:
            status = "cut"
            raise
        finally:
            self._rig.robot.stop(Stop.CUT if status == "cut" else Stop.SETTLE)
            try:
                summary = self._finish(status)
            finally:
                self._rig.robot.close()
                self._learner.close()
        return summary

    # -- the loop --------------------------------------------------------------------------------

    def _learn(self) -> str:
        if not self._resumed:
            self._checkpoint(wait=True)  # from here on there is something to go back to
        while not self._over:
            if not self._disk.go_on() or self._stop.requested:
                self._view.message("stopping: the robot settles and the run is saved")
                return "interrupted"
            try:
                if not self._stand_up():
                    # A twin that can't stand needs help, however late it is; a board's False only
                    # means that it stopped waiting to be armed.
                    if self._over and self._rig.real_time and not self._stop.requested:
                        break
                    return "interrupted" if self._stop.requested else "needs_help"
                self._episode()
            except ROBOT_FAULTS as error:
                if not self._caught(error):
                    return "needs_help"
            if self._robot_s >= self._next_checkpoint_s:
                self._rig.timeline.mark("checkpoint")
                self._next_checkpoint_s = self._robot_s + self._config.run.checkpoint_every_s
                self._checkpoint()
        # Nobody may be there to see a run end with a part of it in memory only.
        return "done" if self._disk.go_on(risk_s=0.0) else "interrupted"

    def _stand_up(self) -> bool:
        self._phase = "stand up"
        begin_s = self._tally.standing_up_s + self._tally.waiting_s
        outcome = self._resetter.stand_up()
        seconds = self._tally.standing_up_s + self._tally.waiting_s - begin_s
        self._tally.stand_ups_tried += outcome.attempts
        self._tally.stand_ups_failed += outcome.failed
        self._run.event(
            "stand_up",
            robot_s=self._robot_s,
            seconds=seconds,
            attempts=outcome.attempts,
            ok=outcome.ok,
        )
        if outcome.gave_up and self._rig.real_time:
            raise outcome.fault
        return outcome.ok

    def _ready(self) -> bool:
        """A real robot is armed before it stands up; the time it takes counts as waiting."""
        if self._rig.arming is None:
            return True
        phase, self._phase = self._phase, "waiting"
        since_s = self._rig.clock.now_s()

        def stopped() -> bool:
            nonlocal since_s
            now_s = self._rig.clock.now_s()
            self._tally.waiting_s += now_s - since_s
            since_s = now_s
            self._show()
            return self._stop.requested or self._over

        ready = self._rig.arming.ready(stopped)
        stopped()
        self._phase = phase
        return ready

    def _caught(self, error: RobotError) -> bool:
        """A real robot's fault: stop, tell, and say whether to go on. The step is not stored."""
        if self._rig.arming is None:
            raise error
        story = self._rig.timeline.story()  # before anything else is in it
        self._rig.robot.stop(Stop.SETTLE)
        self._view.message(f"the robot stops: {error}")
        if error.code == "control_silent":
            self._view.message(f"where the time went: {told(story)}")
        goes_on = self._rig.arming.fault(error)
        self._run.event(
            "fault",
            what=type(error).__name__,
            **self._rig.arming.budget.last,
            text=str(error),
            goes_on=goes_on,
            robot_s=self._robot_s,
            timeline=story,
        )
        return goes_on

    def _episode(self) -> None:
        self._phase = "episode"
        start = choose_start(self._config, self._rig, self._workspace, self._tally)
        self._task = start.task
        if start.carried_from is not None:
            place = [start.carried_from.x_m, start.carried_from.y_m]
            self._run.event("human_reset", robot_s=self._robot_s, place=place)
        length = round(self._config.episode.length_s / self._rig.clock.period_s)
        self._noise_step = 0
        self._noise = coloured_noise(
            self._rng, length, N_ACTIONS, self._config.learning.exploration_beta
        )
        result = self._episodes.run(self._task, self._explore, self._on_step)
        self._rig.timeline.mark("episode log")
        self._tally.add(result)
        inside = self._workspace.contains(self._rig.place())
        self._tally.see(inside, standing_up=False)
        self._learner.end_episode(
            self._task, np.multiply(result.counted_costs, self._cost_scales[0])
        )
        self._log.episode(result)
        self._rig.timeline.mark("collect")
        collect()  # 0.1 ms, once an episode

    def _explore(self, observation: FloatArray) -> FloatArray:
        noise = self._noise[self._noise_step]
        self._noise_step += 1
        if self._tally.steps < self._config.learning.random_steps:
            return np.asarray(np.tanh(noise), dtype=np.float64)
        self._learner.refresh()
        try:
            return self._policies[self._task].act(observation, deterministic=False, noise=noise)
        except PolicyInvalid as error:
            raise UnsafeCommand(str(error)) from None

    def _on_step(self, step: Step) -> None:
        mark = self._rig.timeline.mark
        mark("learner")
        self._tally.moving_s += self._rig.clock.elapsed_s
        self._tally.tasks[step.task].steps += 1
        if step.ended != "stop":
            self._learner.add(
                Transition(
                    step.observation,
                    step.action,
                    step.rewards,
                    step.costs * self._cost_scales[step.done],
                    step.next_observation,
                    step.done,
                    step.task,
                )
            )
        mark("journal")
        self._recorder.step(step)
        mark("learner")
        if self._tally.steps >= self._config.learning.random_steps:
            self._learner.update(self._config.learning.updates_per_step)
        self._show()

    def _on_reset(self, kind: str, state: RobotState, sent_rad: FloatArray) -> None:
        """One control period that was not part of an episode."""
        if kind == "stand_up":
            self._tally.standing_up_s += self._rig.clock.elapsed_s
        else:
            self._tally.waiting_s += self._rig.clock.elapsed_s
        self._rig.timeline.mark("journal")
        self._recorder.reset(kind, state, self._rig.pose.latest(), sent_rad)
        self._show()

    def _stopped(self) -> bool:
        return self._stop.requested

    @property
    def _robot_s(self) -> float:
        return self._tally.total_s

    @property
    def _over(self) -> bool:
        return self._robot_s >= self._config.run.minutes * 60.0

    # -- what stays ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that evolves, between two episodes; what an episode starts anew is not in it."""
        robot = self._rig.robot
        return {
            "records": self._recorder.records,
            "tally": self._tally.state_dict(),
            "exploration": self._rng.bit_generator.state,
            "resetter": self._resetter.state_dict(),
            "robot": robot.state_dict() if isinstance(robot, Restorable) else None,
            "next_metric_s": self._log.next_metric_s,
            "next_checkpoint_s": self._next_checkpoint_s,
            "robot_s": self._robot_s,
            "spent": self._spent.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            KeyError: something is missing in it.
            ValueError: something in it does not fit this run.
        """
        self._tally.load_state_dict(state["tally"])
        self._rng.bit_generator.state = state["exploration"]
        self._resetter.load_state_dict(state["resetter"])
        robot = self._rig.robot
        if isinstance(robot, Restorable) and state["robot"] is not None:
            robot.load_state_dict(state["robot"])
        self._log.next_metric_s = float(state["next_metric_s"])
        self._next_checkpoint_s = float(state["next_checkpoint_s"])
        self._spent.load_state_dict(state["spent"])

    def _checkpoint(self, wait: bool = False) -> None:
        state = self.state_dict()
        # A robot that stands on its feet can't wait for a disk.
        self._keeper.save(
            self._recorder.records,
            state,
            self._tally.score,
            self._recorder.flush,
            wait=wait or self._config.learning.process != "free",
        )
        if state["robot"] is not None:
            # Bullet's caches can't be saved. So that a resumed run can equal this one, this one
            # too goes on from what was saved.
            self._rig.robot.load_state_dict(state["robot"])  # type: ignore[attr-defined]

    def _finish(self, status: str) -> dict[str, Any]:
        try:
            if status not in ("failed", "cut"):  # then the last checkpoint is the one to go on from
                ended, status = status, "failed"
                self._learner.drain()
                self._checkpoint(wait=True)
                status = ended
        finally:
            self._run.event("learn_end", status=status, robot_s=self._robot_s)
            self._recorder.close()
            summary = self._log.summary(status, self._rig.arming)
            self._run.write_summary(summary)
            self._show(force=True)
        return summary

    # -- what is shown ---------------------------------------------------------------------------

    def _show(self, force: bool = False) -> None:
        now_s = time.monotonic()
        if now_s < self._next_view_s and not force:
            return
        self._next_view_s = now_s + VIEW_EVERY_S
        self._rig.timeline.mark("view")
        for text in self._learner.notices():
            self._view.message(text)
            self._run.event("learner", robot_s=self._robot_s, text=text)
        self._view.update(
            snapshot_of(
                self._config,
                self._tally,
                self._learner,
                self._rig,
                self._phase,
                self._task,
                self._spent.wall_s,
            )
        )

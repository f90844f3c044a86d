# SPDX-License-Identifier: MIT
"""The learning loop: stand up, choose the task that walks home, roll out, learn, again.

One loop for the twin in lockstep and for a board: clock, robot and pose come in a `Rig`. In
lockstep each control step is followed by exactly `updates_per_step` gradient steps, and a run is a
function of its configuration. Whatever ends a run, the robot settles, the learner is saved and the
summary is written.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hardware.robot import Stop
from learning.checkpoint import save as save_checkpoint
from learning.noise import coloured_noise
from learning.policy import NumpyPolicy, save_policies
from robot.config_schema import Config
from robot.episode import Episodes, Step
from robot.journal import (
    FLAG_EXIT,
    FLAG_FALL,
    FLAG_FIRST,
    FLAG_LAST,
    FLAG_TIMEOUT,
    PHASE_EPISODE,
    JournalWriter,
)
from robot.learning_setup import (
    N_ACTIONS,
    cost_scale,
    make_learner,
    observation_layout,
    policy_metadata,
)
from robot.observation import FRAME_SIZE, Observer
from robot.reset import Resetter
from robot.rig import Actuator, Rig, make_twin
from robot.run import RunFolder
from robot.scheduler import check_tasks, next_task
from robot.tally import EpisodeResult, Tally
from robot.view import Snapshot, TaskSnapshot, View
from robot.workspace import Workspace

FloatArray = npt.NDArray[np.float64]

METRICS_EVERY_S = 5.0  # robot seconds
VIEW_EVERY_S = 0.25  # wall seconds
_END_FLAG = {"fall": FLAG_FALL, "exit": FLAG_EXIT, "timeout": FLAG_TIMEOUT}


class StopRequest(Protocol):
    """Whether somebody asked the run to end."""

    requested: bool


def learn(
    config: Config, run: RunFolder, view: View, stop: StopRequest, rig: Rig | None = None
) -> dict[str, Any]:
    """Learn until the robot minutes are spent or somebody says stop.

    Args:
        config: the resolved configuration.
        run: an open run folder.
        view: shown what happens.
        stop: asked every control step.
        rig: what to drive; the twin in lockstep when None.

    Returns:
        The summary, as written to summary.json.
    """
    loop = LearningLoop(config, run, view, stop, rig or make_twin(config, config.run.seed))
    return loop.run()


class LearningLoop:
    """One run. Everything that evolves hangs on this object."""

    def __init__(
        self, config: Config, run: RunFolder, view: View, stop: StopRequest, rig: Rig
    ) -> None:
        check_tasks(config.tasks)
        self._config, self._run, self._view, self._stop, self._rig = config, run, view, stop, rig
        self._learner = make_learner(config)
        self._cost_scale = cost_scale(config)
        self._policies: dict[str, NumpyPolicy] = {
            name: self._learner.policy(name) for name in config.tasks
        }
        # Exploration has its own stream, so that it does not depend on how the learner draws.
        self._rng = np.random.default_rng([config.run.seed, 1])
        self._tally = Tally.of(config.tasks)
        actuator = Actuator(rig, config)
        observer = Observer(observation_layout(config), rig.robot.body)
        self._episodes = Episodes(
            config, config.tasks, rig, actuator, observer, lambda: self._stop.requested
        )
        self._resetter = Resetter(config, rig, actuator, self._count_reset, self._stopped)
        w = config.workspace
        self._workspace = Workspace(w.half_length_m, w.half_width_m, w.centre_radius_m)
        self._journal = JournalWriter(run.journal)
        self._wall_start = time.monotonic()
        self._next_view_s = self._next_metric_s = 0.0
        self._next_checkpoint_s = config.run.checkpoint_every_s
        self._task: str = config.tasks[0]
        self._phase = "stand up"
        self._steps = 0
        self._noise, self._noise_step = np.zeros((0, N_ACTIONS)), 0

    def run(self) -> dict[str, Any]:
        """The whole run; returns the summary."""
        self._run.event("learn_start", tasks=list(self._config.tasks), seed=self._config.run.seed)
        status = "failed"
        try:
            status = self._learn()
        finally:
            self._rig.robot.stop(Stop.SETTLE)
            summary = self._finish(status)
            self._rig.robot.close()
        return summary

    # -- the loop --------------------------------------------------------------------------------

    def _learn(self) -> str:
        budget_s = self._config.run.minutes * 60.0
        while self._tally.total_s < budget_s:
            if self._stop.requested:
                self._view.message("stopping: the robot settles and the run is saved")
                return "interrupted"
            if not self._stand_up():
                return "interrupted" if self._stop.requested else "needs_help"
            self._episode()
            if self._robot_s >= self._next_checkpoint_s:
                self._next_checkpoint_s = self._robot_s + self._config.run.checkpoint_every_s
                self._checkpoint()
        return "done"

    def _stand_up(self) -> bool:
        self._phase = "stand up"
        begin_s = self._tally.standing_up_s + self._tally.waiting_s
        outcome = self._resetter.stand_up()
        seconds = self._tally.standing_up_s + self._tally.waiting_s - begin_s
        self._tally.stand_ups_tried += outcome.attempts
        self._tally.stand_ups_failed += outcome.attempts - int(outcome.ok)
        self._run.event(
            "stand_up",
            robot_s=self._robot_s,
            seconds=seconds,
            attempts=outcome.attempts,
            ok=outcome.ok,
        )
        return outcome.ok

    def _episode(self) -> None:
        self._phase = "episode"
        pose = self._rig.pose.latest()
        self._task = next_task(self._config.tasks, pose, self._workspace, self._tally.experience())
        length = round(self._config.episode.length_s / self._rig.clock.period_s)
        self._noise_step = 0
        self._noise = coloured_noise(
            self._rng, length, N_ACTIONS, self._config.learning.exploration_beta
        )
        result = self._episodes.run(self._task, self._explore, self._on_step)
        self._tally.add(result)
        self._learner.end_episode(self._task, np.multiply(result.mean_costs, self._cost_scale))
        self._log_episode(result)

    def _explore(self, observation: FloatArray) -> FloatArray:
        noise = self._noise[self._noise_step]
        self._noise_step += 1
        if self._steps < self._config.learning.random_steps:
            return np.asarray(np.tanh(noise), dtype=np.float64)
        return self._policies[self._task].act(observation, deterministic=False, noise=noise)

    def _on_step(self, step: Step) -> None:
        self._steps += 1
        self._tally.moving_s += self._rig.clock.period_s
        self._tally.tasks[step.task].steps += 1
        if step.ended != "stop":
            self._learner.add(
                step.observation,
                step.action,
                step.rewards,
                step.costs * self._cost_scale,
                step.next_observation,
                step.done,
                step.task,
            )
        self._write_journal(step)
        if self._steps >= self._config.learning.random_steps:
            self._learner.update(self._config.learning.updates_per_step)
        self._show()

    def _count_reset(self, kind: str) -> None:
        """One control period that was not part of an episode."""
        if kind == "stand_up":
            self._tally.standing_up_s += self._rig.clock.period_s
        else:
            self._tally.waiting_s += self._rig.clock.period_s
        self._show()

    def _stopped(self) -> bool:
        return self._stop.requested

    @property
    def _robot_s(self) -> float:
        return self._tally.total_s

    @property
    def _wall_s(self) -> float:
        return time.monotonic() - self._wall_start

    # -- what stays ------------------------------------------------------------------------------

    def _write_journal(self, step: Step) -> None:
        flags = FLAG_FIRST if step.first else 0
        if step.ended:
            flags |= FLAG_LAST | _END_FLAG.get(step.ended, 0)
        costs = np.zeros(2)
        costs[: len(step.costs)] = step.costs
        self._journal.append(
            step=self._steps,
            time_s=step.state.time_s,
            episode=self._tally.episodes,
            task=self._config.tasks.index(step.task),
            phase=PHASE_EPISODE,
            flags=flags,
            observation_frame=step.next_observation[-FRAME_SIZE:],
            action=step.action,
            filtered=step.filtered,
            sent=step.sent_rad,
            pose=(step.pose.x_m, step.pose.y_m, step.pose.yaw_rad),
            attitude=step.attitude,
            costs=costs,
            torque=step.state.motor_torque_nm,
            battery=step.state.battery_v,
            motor_angle=step.state.motor_angle_rad,
            velocity=step.features[[0, 1, 2, 5]],
        )

    def _log_episode(self, result: EpisodeResult) -> None:
        metrics = self._learner.metrics()
        self._run.event(
            "episode",
            episode=self._tally.episodes,
            task=result.task,
            robot_s=self._robot_s,
            wall_s=self._wall_s,
            steps=result.steps,
            ended=result.ended,
            start=list(result.start),
            end=list(result.end),
            speed_m_s=result.speed_m_s,
            turn_rate_rad_s=result.turn_rate_rad_s,
            mean_costs=list(result.mean_costs),
            alpha=metrics[result.task]["alpha"],
            **{
                "return": result.undiscounted_return,
                "lambda": self._learner.multipliers(result.task).tolist(),
            },
        )
        if self._robot_s >= self._next_metric_s:
            self._next_metric_s = self._robot_s + METRICS_EVERY_S
            self._run.metric(
                robot_s=self._robot_s,
                wall_s=self._wall_s,
                steps=self._steps,
                gradient_steps=self._learner.gradient_steps,
                tasks=metrics,
                moving_s=self._tally.moving_s,
                standing_up_s=self._tally.standing_up_s,
                waiting_s=self._tally.waiting_s,
            )

    def _checkpoint(self) -> None:
        if not self._learner.finite():
            raise FloatingPointError(
                f"the learner diverged after {self._learner.gradient_steps} updates: a weight is "
                "not finite; nothing was saved over the last checkpoint. Lower "
                "learning.learning_rate"
            )
        folder = self._run.checkpoints / f"{self._steps:09d}"
        if folder.exists():
            return
        state = self._learner.state_dict()
        folder.parent.mkdir(exist_ok=True)
        save_checkpoint(
            folder,
            state["tensors"],
            {**state["scalars"], "steps": self._steps, "tally": self._tally.summary()},
        )
        save_policies(
            self._run.path / "policy.safetensors", self._policies, policy_metadata(self._config)
        )
        self._run.event("checkpoint", robot_s=self._robot_s, folder=folder.name)

    def _finish(self, status: str) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "status": status,
            "terrain": self._config.terrain.name,
            "seed": self._config.run.seed,
            "gradient_steps": self._learner.gradient_steps,
            "wall_seconds": self._wall_s,
            **self._tally.summary(),
        }
        try:
            self._checkpoint()
        finally:
            self._journal.close()
            self._run.event("learn_end", status=status, robot_s=self._robot_s)
            self._run.write_summary(summary)
            self._show(force=True)
        return summary

    # -- what is shown ---------------------------------------------------------------------------

    def _show(self, force: bool = False) -> None:
        now_s = time.monotonic()
        if now_s < self._next_view_s and not force:
            return
        self._next_view_s = now_s + VIEW_EVERY_S
        tally, pose = self._tally, self._rig.pose.latest()
        alphas = self._learner.metrics()
        self._view.update(
            Snapshot(
                robot_minutes_total=tally.total_s / 60.0,
                robot_minutes_moving=tally.moving_s / 60.0,
                robot_minutes_standing_up=tally.standing_up_s / 60.0,
                robot_minutes_waiting=tally.waiting_s / 60.0,
                minutes_budget=self._config.run.minutes,
                wall_s=self._wall_s,
                steps=self._steps,
                gradient_steps=self._learner.gradient_steps,
                phase=self._phase,
                task=self._task,
                pose=(pose.x_m, pose.y_m, pose.yaw_rad),
                half_length_m=self._workspace.half_length_m,
                half_width_m=self._workspace.half_width_m,
                tasks={
                    name: TaskSnapshot(
                        episodes=task.episodes,
                        steps=task.steps,
                        falls=task.falls,
                        workspace_exits=task.workspace_exits,
                        speed_m_s=task.speed_m_s,
                        turn_rate_rad_s=task.turn_rate_rad_s,
                        alpha=float(alphas[name]["alpha"]),  # type: ignore[arg-type]
                        lambdas=tuple(self._learner.multipliers(name).tolist()),
                    )
                    for name, task in tally.tasks.items()
                },
                falls=tally.falls,
                exits=tally.workspace_exits,
                stand_ups_tried=tally.stand_ups_tried,
                stand_ups_failed=tally.stand_ups_failed,
                human_resets=tally.human_resets,
            )
        )

# SPDX-License-Identifier: MIT
"""One roll-out of one task: observe, act, let a period pass, look what came of it, hand it on.

Termination (no bootstrap) is a fall; truncation (bootstrapped) is the time limit and the
workspace's edge, or its margin if it walks out. Steps go to whoever listens: the learner and the
journal while learning, nobody while evaluating.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import Pose2D, RobotState
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import Actuator, Rig
from walkhome.robot.mdp.costs import n_constraints, step_costs
from walkhome.robot.mdp.observation import Observer
from walkhome.robot.mdp.rewards import TASKS, motion, reward_features, reward_weights, rewards_of
from walkhome.robot.mdp.workspace import Workspace
from walkhome.safety.attitude import is_fallen

FloatArray = npt.NDArray[np.float64]


class Policy(Protocol):
    """Observation to action in [-1, 1]^8."""

    def __call__(self, observation: FloatArray) -> FloatArray:
        """(n,) to (8,)."""
        ...


@dataclass(frozen=True)
class EpisodeResult:
    """What came of one roll-out.

    Attributes:
        task: its name.
        steps: control steps.
        ended: `timeout`, `fall`, `exit` or `stop`.
        start: x, y (m), yaw (rad), world frame.
        end: the same at the end.
        speed_m_s: mean velocity along the task's walking direction in the body's own frame, step by
            step; 0 for turns.
        turn_rate_rad_s: mean turn rate, counter-clockwise > 0.
        undiscounted_return: sum of the task's rewards.
        mean_costs: per constraint, mean per step.
        counted_costs: what the multipliers are told: the same, or, where a fall counts for the rest
            of the roll-out that it ended, the mean over all its steps (`constraint.after_fall`).
    """

    task: str
    steps: int
    ended: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    speed_m_s: float
    turn_rate_rad_s: float
    undiscounted_return: float
    mean_costs: tuple[float, ...]
    counted_costs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One control step, whole: all that learning, journal and view may want.

    Attributes:
        task: name of the task that acted.
        first: whether it opens the episode.
        observation: (n,) what the policy saw.
        action: (8,) what it asked for.
        filtered: (8,) after the low-pass.
        sent_rad: (8,) motor angles after the limits.
        next_observation: (n,) what came of it.
        state_before: measurement that `observation` ends with.
        pose_before: place then.
        state: measurement after the step.
        attitude: roll, pitch after the step, rad.
        pose: place after the step.
        features: (7,) what rewards are linear in.
        rewards: (n tasks,) for every task being learned.
        costs: (n constraints,).
        done: a fall; the future is worth nothing.
        ended: empty while it goes on, else `fall`, `exit`, `timeout` or `stop`.
    """

    task: str
    first: bool
    observation: FloatArray
    action: FloatArray
    filtered: FloatArray
    sent_rad: FloatArray
    next_observation: FloatArray
    state_before: RobotState
    pose_before: Pose2D
    state: RobotState
    attitude: tuple[float, float]
    pose: Pose2D
    features: FloatArray
    rewards: FloatArray
    costs: FloatArray
    done: bool
    ended: str


@dataclass
class Progress:
    """Where a roll-out stands: what the next step needs of the last ones.

    Attributes:
        task: what is done.
        max_steps: of it; then it is cut short.
        fenced: whether the workspace's edge ends it.
        start: place at its beginning.
        pose: place now.
        state: measurement now.
        observation: (n,) what the policy sees now.
        past: the last two filtered actions, (8,) each.
        steps: made so far.
        ended: as `Step.ended`.
        travelled: (3,) summed velocity along x, y and yaw, body frame.
        total: sum of the task's rewards.
        costs: (n constraints,) sums.
        counted: (n constraints,) mean costs over all its steps, had the robot stayed as it fell;
            None unless it fell and that counts (`constraint.after_fall`).
    """

    task: str
    max_steps: int
    fenced: bool
    start: Pose2D
    pose: Pose2D
    state: RobotState
    observation: FloatArray
    past: deque[FloatArray]
    costs: FloatArray
    counted: FloatArray | None = None
    steps: int = 0
    ended: str = ""
    travelled: FloatArray = field(default_factory=lambda: np.zeros(3))
    total: float = 0.0

    def result(self) -> EpisodeResult:
        """What came of it, once it has made a step."""
        start, end = self.start, self.pose
        mean_costs = self.costs / self.steps
        counted_costs = mean_costs if self.counted is None else self.counted
        along = np.dot(TASKS[self.task].direction[:2], self.travelled[:2])
        return EpisodeResult(
            task=self.task,
            steps=self.steps,
            ended=self.ended,
            start=(start.x_m, start.y_m, start.yaw_rad),
            end=(end.x_m, end.y_m, end.yaw_rad),
            speed_m_s=float(along) / self.steps,
            turn_rate_rad_s=float(self.travelled[2]) / self.steps,
            undiscounted_return=self.total,
            mean_costs=tuple(float(c) for c in mean_costs),
            counted_costs=tuple(float(c) for c in counted_costs),
        )


@dataclass(frozen=True, slots=True)
class _Sent:
    """One command: what the policy asked for, filtered, and the motor angles that went out."""

    action: FloatArray
    filtered: FloatArray
    rad: FloatArray


class Episodes:
    """Runs roll-outs on a rig.

    Args:
        config: rates, reward, limits.
        tasks: whose rewards are computed, in order.
        rig: the robot, its pose and its clock.
        actuator: the gate to its motors.
        observer: makes observations.
        stop_requested: asked once a step.
    """

    def __init__(
        self,
        config: Config,
        tasks: Sequence[str],
        rig: Rig,
        actuator: Actuator,
        observer: Observer,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = config
        self._tasks = tuple(tasks)
        self._rig = rig
        self._actuator = actuator
        self._observer = observer
        self._stop_requested = stop_requested
        self._weights = reward_weights(self._tasks, config.reward)
        self._workspace = Workspace.of(config.workspace)

    def run(
        self,
        task: str,
        policy: Policy,
        on_step: Callable[[Step], None] = lambda step: None,
        length_s: float | None = None,
        fenced: bool = True,
    ) -> EpisodeResult:
        """One roll-out.

        Args:
            task: what to do.
            policy: who does it.
            on_step: told every step; of a robot in real time after the command that follows it.
            length_s: time limit; the configuration's when None.
            fenced: end at the workspace's edge.
        """
        now = self.begin(task, length_s, fenced)
        # In lockstep the learner has each step before the policy acts again. A robot does not wait
        # for that: its next command goes out first, and what is done with a step is done after.
        waits: Step | None = None
        while not now.ended:
            self._rig.timeline.mark("policy")
            try:
                sent = self._act(policy(now.observation), now)
            finally:  # a step that was whole counts, also when the next one fails
                if waits is not None:
                    on_step(waits)
                    waits = None
            step = self._look(sent, now)
            if self._rig.real_time and not now.ended:
                waits = step
            else:
                on_step(step)
        return now.result()

    def begin(self, task: str, length_s: float | None = None, fenced: bool = True) -> Progress:
        """Start a roll-out that somebody else steps through; see `run`."""
        self._rig.timeline.mark("begin")
        seconds = self._config.episode.length_s if length_s is None else length_s
        max_steps = max(1, round(seconds / self._rig.clock.period_s))
        state, start = self._rig.robot.read(), self._rig.place()
        filtered = self._actuator.start(state)
        observation = self._observer.reset(state, filtered)
        past, costs = (
            deque([filtered, filtered], maxlen=2),
            np.zeros(n_constraints(self._config.constraint)),
        )
        return Progress(task, max_steps, fenced, start, start, state, observation, past, costs)

    def step(self, action: FloatArray, now: Progress) -> Step:
        """Act for one period and look what came of it.

        Args:
            action: (8,) in [-1, 1].
            now: a roll-out that has not ended; it is moved on.
        """
        return self._look(self._act(action, now), now)

    def _act(self, action: FloatArray, now: Progress) -> _Sent:
        """The command of one period."""
        self._rig.timeline.mark("command")
        filtered, sent_rad = self._actuator.act(action, now.state)
        self._rig.timeline.sent()
        return _Sent(action, filtered, sent_rad)

    def _look(self, sent: _Sent, now: Progress) -> Step:
        """Let the period pass, and look what came of it; moves `now` on."""
        timeline, filtered = self._rig.timeline, sent.filtered
        timeline.mark("wait")
        self._rig.clock.tick()
        timeline.mark("read")
        state_before, before, observation = now.state, now.pose, now.observation
        now.state, now.pose = self._rig.robot.read(), self._rig.place()
        timeline.mark("observe")
        now.observation = self._observer.observe(now.state, filtered)
        now.steps += 1
        roll, pitch, _ = roll_pitch_yaw(now.state.attitude_xyzw)
        now.ended = self._ending(roll, pitch, now)
        now.travelled += self._velocity(before, now.pose, before.yaw_rad)
        in_episode = self._config.reward.frame == "episode"
        frame_yaw = now.start.yaw_rad if in_episode else before.yaw_rad
        velocity = self._velocity(before, now.pose, frame_yaw)
        features = reward_features(velocity, (filtered, now.past[-1], now.past[-2]))
        now.past.append(filtered)
        rewards = rewards_of(features, self._weights)
        costs = step_costs(roll_rad=roll, pitch_rad=pitch, constraint=self._config.constraint)
        now.total += float(rewards[self._tasks.index(now.task)])
        now.costs += costs
        if now.ended == "fall" and self._config.constraint.after_fall == "counted":
            now.counted = (now.costs + costs * (now.max_steps - now.steps)) / now.max_steps
        return Step(
            task=now.task,
            first=now.steps == 1,
            observation=observation,
            action=sent.action,
            filtered=filtered,
            sent_rad=sent.rad,
            next_observation=now.observation,
            state_before=state_before,
            pose_before=before,
            state=now.state,
            attitude=(roll, pitch),
            pose=now.pose,
            features=features,
            rewards=rewards,
            costs=costs,
            done=now.ended == "fall",
            ended=now.ended,
        )

    def _velocity(
        self, before: Pose2D, after: Pose2D, frame_yaw_rad: float
    ) -> tuple[float, float, float]:
        return motion(
            (before.x_m, before.y_m, before.yaw_rad),
            (after.x_m, after.y_m, after.yaw_rad),
            frame_yaw_rad,
            self._rig.seconds(before, after),
        )

    def _ending(self, roll: float, pitch: float, now: Progress) -> str:
        e = self._config.episode
        if is_fallen(
            roll_rad=roll,
            pitch_rad=pitch,
            roll_limit_rad=e.fall_roll_rad,
            pitch_limit_rad=e.fall_pitch_rad,
        ):
            return "fall"
        if self._stop_requested():
            return "stop"
        if now.fenced and self._workspace.left(now.pose, now.start):
            return "exit"
        over = now.steps >= now.max_steps
        if over or (now.fenced and self._workspace.turns_back(now.pose, now.start)):
            return "timeout"
        return ""

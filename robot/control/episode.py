# SPDX-License-Identifier: MIT
"""One roll-out of one task, as a behaviour: observe, act, and judge what followed.

A fall terminates (no bootstrap). The time limit, the workspace's edge and a roll-out that walks out
through the workspace's margin truncate (bootstrap).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import Pose2D, RobotState
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import (
    ConstraintConfig,
    ControlConfig,
    RewardConfig,
    WorkspaceConfig,
)
from walkhome.robot.control.actuator import ActionPath
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.control.plant import Plant, valid
from walkhome.robot.control.target import Done, Target
from walkhome.robot.mdp.costs import n_constraints, step_costs
from walkhome.robot.mdp.observation import Observer, observation_layout
from walkhome.robot.mdp.rewards import TASKS, motion, reward_features, reward_weights, rewards_of
from walkhome.robot.mdp.workspace import Workspace

FloatArray = npt.NDArray[np.float64]


class Policy(Protocol):
    """Maps an observation to an action."""

    def __call__(self, observation: FloatArray) -> FloatArray:
        """(n,) observation to (8,) action in [-1, 1]."""
        ...


@dataclass(frozen=True)
class EpisodeResult:
    """Statistics of one roll-out.

    Attributes:
        task: name of the task.
        steps: number of control steps.
        ended: `timeout`, `fall`, `exit` or `stop`.
        start: x, y (m), yaw (rad), world frame.
        end: the same at the end.
        speed_m_s: mean velocity along the task's walking direction in the body frame; 0 for turns.
        turn_rate_rad_s: mean turn rate, counter-clockwise > 0.
        undiscounted_return: sum of the task's rewards.
        mean_costs: (k,) mean cost per step, rad, ordered as `mdp.costs.NAMES`.
        counted_costs: (k,) the costs that the multipliers are updated with: `mean_costs`, or, with
            `constraint.after_fall: counted`, the mean over the whole time limit of a robot that
            stays as it fell.
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
    """A control period as a transition of the decision process.

    Attributes:
        task: name of the task that acted.
        first: whether it opens the episode.
        observation: (n,) what the policy saw.
        action: (8,) what the policy asked for, in [-1, 1].
        filtered: (8,) the action after the low-pass filter.
        next_observation: (n,) the observation after the period.
        features: (7,) what rewards are linear in (`mdp.rewards.FEATURE_NAMES`).
        rewards: (n tasks,) the reward of every task that is learned.
        costs: (k,) rad, ordered as `mdp.costs.NAMES`.
        done: a fall; the future is worth nothing.
        ended: empty while the episode goes on, else `fall`, `exit`, `timeout` or `stop`.
    """

    task: str
    first: bool
    observation: FloatArray
    action: FloatArray
    filtered: FloatArray
    next_observation: FloatArray
    features: FloatArray
    rewards: FloatArray
    costs: FloatArray
    done: bool
    ended: str


class Episodes:
    """Makes roll-outs that share a plant, a decision process and the observation's history.

    Args:
        tasks: names of the tasks whose rewards are computed, in order.
        plant: the robot.
        control: action filter and observation history.
        reward: reward weights and frame.
        constraint: limits of the costs, and what a fall costs.
        workspace: its edge and margin end a roll-out.
        length_s: time limit of a roll-out.
        stopped: True ends a roll-out after the current step, as `stop`.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        plant: Plant,
        *,
        control: ControlConfig,
        reward: RewardConfig,
        constraint: ConstraintConfig,
        workspace: WorkspaceConfig,
        length_s: float,
        stopped: Callable[[], bool],
    ) -> None:
        self.tasks, self.plant, self.stopped = tuple(tasks), plant, stopped
        self.reward, self.constraint, self._length_s = reward, constraint, length_s
        body = plant.robot.body
        self.path = ActionPath(body, control)
        self.observer = Observer(observation_layout(control), body)
        self.weights = reward_weights(self.tasks, reward)
        self.workspace = Workspace.of(workspace)

    @classmethod
    def of(
        cls, config: Config, plant: Plant, stopped: Callable[[], bool] = lambda: False
    ) -> Episodes:
        """The roll-outs of a configuration, for all of its tasks."""
        return cls(
            config.tasks,
            plant,
            control=config.control,
            reward=config.reward,
            constraint=config.constraint,
            workspace=config.workspace,
            length_s=config.episode.length_s,
            stopped=stopped,
        )

    def episode(
        self, task: str, policy: Policy, length_s: float | None = None, fenced: bool = True
    ) -> PolicyEpisode:
        """A roll-out that has not begun.

        Args:
            task: name of the task.
            policy: chooses the actions.
            length_s: time limit; the configuration's when None.
            fenced: whether the workspace's edge ends it.
        """
        seconds = self._length_s if length_s is None else length_s
        max_steps = max(1, round(seconds / self.plant.clock.period_s))
        return PolicyEpisode(self, task, policy, max_steps, fenced)


class PolicyEpisode:
    """A roll-out as a behaviour; its `Done` carries an `EpisodeResult`.

    Args:
        shared: what all roll-outs share; see `Episodes`.
        task: name of the task.
        policy: chooses the actions.
        max_steps: time limit in control periods.
        fenced: whether the workspace's edge ends it.

    Attributes:
        task: as given.
        observation: (n,) what the policy sees next.
        begin: pose at the start, world frame.
        ended: as `Step.ended`.
    """

    phase = Phase.EPISODE
    observation: FloatArray
    begin: Pose2D

    def __init__(
        self, shared: Episodes, task: str, policy: Policy, max_steps: int, fenced: bool
    ) -> None:
        self.task, self.ended = task, ""
        self._shared, self._policy = shared, policy
        self._max_steps, self._fenced = max_steps, fenced
        self._steps, self._return = 0, 0.0
        self._travelled = np.zeros(3)  # summed velocity along x, y and yaw, body frame
        self._costs = np.zeros(n_constraints(shared.constraint))
        self._counted: FloatArray | None = None

    def start(self, state: RobotState) -> None:
        """Begin where the robot stands.

        Raises:
            PoseLost: its pose is not known.
        """
        self.begin = self._end = self._shared.plant.place()
        filtered = self._shared.path.reset(state)
        self.observation = self._shared.observer.reset(state, filtered)
        self._past = deque([filtered, filtered], maxlen=2)

    def step(self, state: RobotState, time_s: float) -> Target | Done:
        """The policy's action for the newest observation; the result once it has ended."""
        del state, time_s
        if self.ended:
            return Done(self.result())
        return self._shared.path.target(self._policy(self.observation))

    def check(self, period: Period) -> Period:
        """Complete the period with the transition that it is.

        Raises:
            PoseLost: the pose after it is not valid; the period is no transition.
        """
        target, shared = period.target, self._shared
        assert target is not None
        assert target.action is not None
        assert target.filtered is not None
        before, after = period.pose_before, valid(period.pose)
        observation = self.observation
        self.observation = shared.observer.observe(period.state, target.filtered)
        self._steps += 1
        self._end = after
        self.ended = self._ending(period)
        features = self._features(before, after, target.filtered)
        rewards = rewards_of(features, shared.weights)
        self._return += float(rewards[shared.tasks.index(self.task)])
        costs = self._count_costs(period)
        step = Step(
            task=self.task,
            first=self._steps == 1,
            observation=observation,
            action=target.action,
            filtered=target.filtered,
            next_observation=self.observation,
            features=features,
            rewards=rewards,
            costs=costs,
            done=self.ended == "fall",
            ended=self.ended,
        )
        return replace(period, step=step)

    def result(self) -> EpisodeResult:
        """Statistics of the roll-out, once it has made a step."""
        begin, end = self.begin, self._end
        mean_costs = self._costs / self._steps
        counted_costs = mean_costs if self._counted is None else self._counted
        along = np.dot(TASKS[self.task].direction[:2], self._travelled[:2])
        return EpisodeResult(
            task=self.task,
            steps=self._steps,
            ended=self.ended,
            start=(begin.x_m, begin.y_m, begin.yaw_rad),
            end=(end.x_m, end.y_m, end.yaw_rad),
            speed_m_s=float(along) / self._steps,
            turn_rate_rad_s=float(self._travelled[2]) / self._steps,
            undiscounted_return=self._return,
            mean_costs=tuple(float(c) for c in mean_costs),
            counted_costs=tuple(float(c) for c in counted_costs),
        )

    def _features(self, before: Pose2D, after: Pose2D, filtered: FloatArray) -> FloatArray:
        """Reward features of the period; adds its motion to the distance travelled."""
        self._travelled += self._velocity(before, after, before.yaw_rad)
        in_episode = self._shared.reward.frame == "episode"
        frame_yaw_rad = self.begin.yaw_rad if in_episode else before.yaw_rad
        velocity = self._velocity(before, after, frame_yaw_rad)
        features = reward_features(velocity, (filtered, self._past[-1], self._past[-2]))
        self._past.append(filtered)
        return features

    def _velocity(
        self, before: Pose2D, after: Pose2D, frame_yaw_rad: float
    ) -> tuple[float, float, float]:
        return motion(
            (before.x_m, before.y_m, before.yaw_rad),
            (after.x_m, after.y_m, after.yaw_rad),
            frame_yaw_rad,
            self._shared.plant.seconds_between(before, after),
        )

    def _count_costs(self, period: Period) -> FloatArray:
        constraint = self._shared.constraint
        costs = step_costs(
            roll_rad=period.roll_rad, pitch_rad=period.pitch_rad, constraint=constraint
        )
        self._costs += costs
        if self.ended == "fall" and constraint.after_fall == "counted":
            remaining = self._max_steps - self._steps
            self._counted = (self._costs + costs * remaining) / self._max_steps
        return costs

    def _ending(self, period: Period) -> str:
        workspace, pose = self._shared.workspace, period.pose
        if period.fell:
            return "fall"
        if self._shared.stopped():
            return "stop"
        if self._fenced and workspace.left(pose, self.begin):
            return "exit"
        over = self._steps >= self._max_steps
        if over or (self._fenced and workspace.turns_back(pose, self.begin)):
            return "timeout"
        return ""

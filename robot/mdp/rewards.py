# SPDX-License-Identifier: MIT
"""Tasks are directions; the reward is one pure function of logged motion.

Task vector w = [w_x, w_y, w_yaw], reward w . [dx, dy, dyaw] / dt minus a smoothness penalty (Ha
2020, section 3.2). Everything task-specific enters linearly, so each transition is relabelled for
every task at once (`rewards_of`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.rotation import wrap_to_pi
from walkhome.robot.config.schema import RewardConfig

FloatArray = npt.NDArray[np.float64]

# Features of one step: forward and sideways velocity, turn rate, the magnitudes of speed and turn,
# the squared second difference of the actions, and how far the legs of a side lean one way.
FEATURE_NAMES = (
    "v_x_m_s",
    "v_y_m_s",
    "turn_rate_rad_s",
    "abs_v_m_s",
    "abs_turn_rad_s",
    "jerk",
    "lean",
)
N_FEATURES = len(FEATURE_NAMES)


@dataclass(frozen=True)
class Task:
    """A direction to move in.

    Attributes:
        name: as the user types it.
        direction: w, the unit of [x, y, yaw].
        opposite: the task that undoes this one's motion.
    """

    name: str
    direction: tuple[float, float, float]
    opposite: str

    @property
    def turns(self) -> bool:
        """Whether this is a turn on the spot."""
        return self.direction[2] != 0.0

    @property
    def heading_rad(self) -> float:
        """Direction of travel in the body frame; 0 is forward, counter-clockwise > 0."""
        return math.atan2(self.direction[1], self.direction[0])


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("forward", (1.0, 0.0, 0.0), "backward"),
        Task("backward", (-1.0, 0.0, 0.0), "forward"),
        Task("left", (0.0, 0.0, 1.0), "right"),
        Task("right", (0.0, 0.0, -1.0), "left"),
    )
}


def motion(
    before: tuple[float, float, float],
    after: tuple[float, float, float],
    frame_yaw_rad: float,
    period_s: float,
) -> tuple[float, float, float]:
    """Velocity between two poses, seen in a frame turned by `frame_yaw_rad`.

    Args:
        before: x, y (m) and yaw (rad), world frame.
        after: the same, one period later.
        frame_yaw_rad: yaw of the episode's start (the paper) or of the step's start.
        period_s: time between the poses.

    Returns:
        Forward and sideways velocity, m/s, and turn rate, rad/s.
    """
    dx, dy = after[0] - before[0], after[1] - before[1]
    c, s = math.cos(frame_yaw_rad), math.sin(frame_yaw_rad)
    turn = wrap_to_pi(after[2] - before[2])
    return (c * dx + s * dy) / period_s, (c * dy - s * dx) / period_s, turn / period_s


def reward_features(
    velocity: tuple[float, float, float], actions: tuple[FloatArray, FloatArray, FloatArray]
) -> FloatArray:
    """(7,) what the reward of any task is linear in.

    Args:
        velocity: as `motion` gives it.
        actions: a_t, a_{t-1}, a_{t-2}, each (8,), filtered.
    """
    jerk = actions[0] - 2.0 * actions[1] + actions[2]
    v_x, v_y, turn = velocity
    left = 0.5 * (actions[0][0] + actions[0][1])
    right = 0.5 * (actions[0][2] + actions[0][3])
    lean = 0.5 * (left * left + right * right)
    speed = math.hypot(v_x, v_y)
    return np.array([v_x, v_y, turn, speed, abs(turn), float(jerk @ jerk), float(lean)])


def rewards_of(features: FloatArray, weights: FloatArray) -> FloatArray:
    """(n tasks,) every task's reward: features (7,) times weights (7, n tasks).

    Added up in the order of the features: a BLAS product adds in one that depends on how many tasks
    there are, and the same step would get other last bits when it is looked at for other tasks.
    """
    return np.asarray((features[:, None] * weights).sum(axis=0))


def reward_weights(tasks: tuple[str, ...], config: RewardConfig) -> FloatArray:
    """(7, n tasks): what `rewards_of` multiplies features by.

    `lean_penalty` is ours too, after Haarnoja 2019, who penalises legs folded under the body:
    swinging all legs back moves the body 0.1 m at once, and a robot that found this leans for ever
    and never steps. Legs of a side that swing against each other (trot, bound) pay nothing.

    `side_penalty` (for turns: on travelling) and `turn_penalty` (for walking: on turning) are ours;
    the paper has neither, and both default to what measured best (docs/defaults.md).
    """
    weights = np.zeros((N_FEATURES, len(tasks)))
    for column, name in enumerate(tasks):
        task = TASKS[name]
        w_x, w_y, w_yaw = task.direction
        weights[0, column] = config.linear_scale * w_x
        weights[1, column] = config.linear_scale * w_y
        weights[2, column] = config.angular_scale * w_yaw
        if task.turns:
            weights[3, column] = -config.side_penalty
        else:
            weights[4, column] = -config.turn_penalty
        weights[5, column] = -config.smoothness_weight
        weights[6, column] = -config.lean_penalty
    return weights

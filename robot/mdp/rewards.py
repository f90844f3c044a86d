# SPDX-License-Identifier: MIT
"""Tasks are directions of motion; a task's reward is linear in features of the logged motion.

    two poses -> motion -> velocity -> reward_features -> (7,) -> rewards_of -> (n tasks,)

The reward of task w = [w_x, w_y, w_yaw] is w . [dx, dy, dyaw] / dt minus a smoothness penalty (Ha
et al. 2020, arXiv 2002.08550, section 3.2), and the penalties of `reward_weights`. Only the weights
depend on the task, so one product gives the rewards of a transition for every task. The journal
stores the features, so that any task's rewards can be computed later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from walkhome.hardware.rotation import wrap_to_pi
from walkhome.robot.config.sections import OPPOSITE, RewardConfig

FloatArray = npt.NDArray[np.float64]


class Features(NamedTuple):
    """The features of one control step, in their order; also the weights of one task for them.

    Attributes:
        v_x_m_s: forward velocity.
        v_y_m_s: sideways velocity; left > 0.
        turn_rate_rad_s: counter-clockwise > 0.
        abs_v_m_s: horizontal speed.
        abs_turn_rad_s: magnitude of the turn rate.
        jerk: squared norm of the actions' second difference.
        lean: mean square over the body's sides of the mean swing of a side's two legs.
    """

    v_x_m_s: float
    v_y_m_s: float
    turn_rate_rad_s: float
    abs_v_m_s: float
    abs_turn_rad_s: float
    jerk: float
    lean: float


FEATURE_NAMES = Features._fields
N_FEATURES = len(FEATURE_NAMES)


@dataclass(frozen=True)
class Task:
    """A direction to move in.

    Attributes:
        name: the task's name on the command line and in the configuration.
        direction: unit vector w over [x, y, yaw], body frame.
        opposite: name of the task in the opposite direction.
    """

    name: str
    direction: tuple[float, float, float]
    opposite: str

    @property
    def turns(self) -> bool:
        """True for a turn on the spot."""
        return self.direction[2] != 0.0

    @property
    def heading_rad(self) -> float:
        """Direction of travel in the body frame; 0 is forward, counter-clockwise is positive."""
        return math.atan2(self.direction[1], self.direction[0])


_DIRECTIONS = {
    "forward": (1.0, 0.0, 0.0),
    "backward": (-1.0, 0.0, 0.0),
    "left": (0.0, 0.0, 1.0),
    "right": (0.0, 0.0, -1.0),
}
TASKS: dict[str, Task] = {
    name: Task(name, direction, OPPOSITE[name]) for name, direction in _DIRECTIONS.items()
}


def motion(
    before: tuple[float, float, float],
    after: tuple[float, float, float],
    frame_yaw_rad: float,
    period_s: float,
) -> tuple[float, float, float]:
    """Mean velocity between two poses, in a frame rotated by `frame_yaw_rad` from the world frame.

    Args:
        before: x, y (m) and yaw (rad), world frame.
        after: x, y (m) and yaw (rad), world frame, one period later.
        frame_yaw_rad: yaw at the start of the episode (as in the paper) or of the step
            (`reward.frame`).
        period_s: time between the poses.

    Returns:
        Forward velocity (m/s), sideways velocity (m/s, left > 0) and turn rate (rad/s,
        counter-clockwise > 0).
    """
    dx, dy = after[0] - before[0], after[1] - before[1]
    c, s = math.cos(frame_yaw_rad), math.sin(frame_yaw_rad)
    turn = wrap_to_pi(after[2] - before[2])
    return (c * dx + s * dy) / period_s, (c * dy - s * dx) / period_s, turn / period_s


def reward_features(
    velocity: tuple[float, float, float], actions: tuple[FloatArray, FloatArray, FloatArray]
) -> FloatArray:
    """The features of one step, which the reward of every task is linear in.

    Args:
        velocity: forward and sideways velocity (m/s) and turn rate (rad/s), as from `motion`.
        actions: a_t, a_{t-1} and a_{t-2}, each (8,), after the action filter.

    Returns:
        (7,), ordered as `Features`.
    """
    jerk = actions[0] - 2.0 * actions[1] + actions[2]
    v_x, v_y, turn = velocity
    left = 0.5 * (actions[0][0] + actions[0][1])
    right = 0.5 * (actions[0][2] + actions[0][3])
    lean = 0.5 * (left * left + right * right)
    return np.array(
        Features(
            v_x_m_s=v_x,
            v_y_m_s=v_y,
            turn_rate_rad_s=turn,
            abs_v_m_s=math.hypot(v_x, v_y),
            abs_turn_rad_s=abs(turn),
            jerk=float(jerk @ jerk),
            lean=float(lean),
        )
    )


def rewards_of(features: FloatArray, weights: FloatArray) -> FloatArray:
    """Rewards of one step for every task.

    Args:
        features: (7,) from `reward_features`.
        weights: (7, n tasks) from `reward_weights`.

    Returns:
        (n tasks,)
    """
    # Not `features @ weights`: BLAS adds in an order that depends on the number of tasks, and a
    # step's rewards must not change in their last bits with the set of tasks.
    return np.asarray((features[:, None] * weights).sum(axis=0))


def reward_weights(tasks: tuple[str, ...], config: RewardConfig) -> FloatArray:
    """Weights of the features in the reward of each task.

    Besides the paper's terms there are three penalties. `lean_penalty` follows Haarnoja et al.
    2019 (arXiv 1812.11103), who penalise legs folded under the body: swinging all legs backwards
    moves the body 0.1 m at once, and a robot that discovers this leans forever and never steps.
    Legs of a side that swing against each other (trot, bound) are not penalised. `side_penalty`
    (on travelling, for turns) and `turn_penalty` (on turning, for walking) are ours;
    docs/learning.md says which values measured best.

    Args:
        tasks: names of the tasks.
        config: the section `reward`.

    Returns:
        (7, n tasks), rows ordered as `Features`.
    """
    weights = np.array([_weights_of(TASKS[name], config) for name in tasks])
    # C order: the sum in `rewards_of` must add the features one after the other.
    return np.ascontiguousarray(weights.reshape(len(tasks), N_FEATURES).T)


def _weights_of(task: Task, config: RewardConfig) -> Features:
    w_x, w_y, w_yaw = task.direction
    return Features(
        v_x_m_s=config.linear_scale * w_x,
        v_y_m_s=config.linear_scale * w_y,
        turn_rate_rad_s=config.angular_scale * w_yaw,
        abs_v_m_s=-config.side_penalty if task.turns else 0.0,
        abs_turn_rad_s=0.0 if task.turns else -config.turn_penalty,
        jerk=-config.smoothness_weight,
        lean=-config.lean_penalty,
    )

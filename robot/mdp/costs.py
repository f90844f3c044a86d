# SPDX-License-Identifier: MIT
"""The costs that the constraints limit: how far pitch and roll exceed their limits.

    attitude (rad) -> step_costs -> (k,) rad -> x cost_scale -> learner

Two forms: `vector`, one cost per angle, each held under a small budget (the default), and `margin`,
the one margin f_s of Ha et al. 2020 (arXiv 2002.08550, section 3.4). Costs are ordered as `NAMES`;
attitude is ordered (roll, pitch) everywhere, so every function here takes the angles by name.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from walkhome.robot.config.sections import ConstraintConfig

FloatArray = npt.NDArray[np.float64]

NAMES = ("pitch", "roll")
"""The order of the costs in transitions, multipliers and the journal's `costs` column."""

_WORST_ANGLE_RAD = math.pi


def n_constraints(constraint: ConstraintConfig) -> int:
    """Number of costs per step: 2 for the vector form, 1 for the paper's margin."""
    return len(NAMES) if constraint.form == "vector" else 1


def step_costs(*, roll_rad: float, pitch_rad: float, constraint: ConstraintConfig) -> FloatArray:
    """Costs of one control step.

    Returns:
        (k,) rad. Vector form: excess of pitch and of roll, never negative. Margin form: -f_s, of
        either sign, because the paper holds E[f_s] >= 0.
    """
    limits = {
        "pitch_limit_rad": constraint.pitch_limit_rad,
        "roll_limit_rad": constraint.roll_limit_rad,
    }
    if constraint.form == "vector":
        return attitude_costs(roll_rad=roll_rad, pitch_rad=pitch_rad, **limits)
    return -np.atleast_1d(attitude_margin(roll_rad=roll_rad, pitch_rad=pitch_rad, **limits))


def cost_scale(constraint: ConstraintConfig, cost_discount: float, fell: bool = False) -> float:
    """Factor that turns costs (rad) into units of the budget before learning.

    Costs of a few hundredths beside rewards of several would need multipliers of hundreds, and the
    actor's loss divides by 1 + sum lambda (`learning.sac.actor_loss`), which would drown the
    reward. In units of the budget, a multiplier of one weighs a violation as much as the reward.

    A fall ends a roll-out a few steps after the limits were passed, and those few steps are all it
    costs. With `constraint.after_fall: counted` the fallen robot is an absorbing state: its last
    step costs c + gamma c + gamma^2 c + ... = c / (1 - gamma).

    Args:
        constraint: budget and what a fall costs.
        cost_discount: gamma of the cost critics.
        fell: whether the step ended in a fall.

    Returns:
        1/rad.
    """
    absorbing = fell and constraint.after_fall == "counted"
    return 1.0 / (constraint.budget * (1.0 - cost_discount if absorbing else 1.0))


def attitude_costs(
    *,
    roll_rad: npt.ArrayLike,
    pitch_rad: npt.ArrayLike,
    pitch_limit_rad: float,
    roll_limit_rad: float,
) -> FloatArray:
    """How far pitch and roll exceed their limits. An angle that is not finite counts as pi.

    Args:
        roll_rad: any shape.
        pitch_rad: the same shape.
        pitch_limit_rad: pitch magnitude up to which there is no cost.
        roll_limit_rad: roll magnitude up to which there is no cost.

    Returns:
        (..., 2) rad, ordered as `NAMES`; zero within the limits, never negative.
    """
    pitch = np.maximum(_magnitude(pitch_rad) - pitch_limit_rad, 0.0)
    roll = np.maximum(_magnitude(roll_rad) - roll_limit_rad, 0.0)
    return np.stack([pitch, roll], axis=-1)


def attitude_margin(
    *,
    roll_rad: npt.ArrayLike,
    pitch_rad: npt.ArrayLike,
    pitch_limit_rad: float,
    roll_limit_rad: float,
) -> FloatArray:
    """The paper's margin f_s = min(pitch limit - |pitch|, roll limit - |roll|).

    Args:
        roll_rad: any shape.
        pitch_rad: the same shape.
        pitch_limit_rad: the paper has pi/12.
        roll_limit_rad: the paper has pi/6.

    Returns:
        The same shape, rad; negative where a limit is violated.
    """
    margin = np.minimum(
        pitch_limit_rad - _magnitude(pitch_rad), roll_limit_rad - _magnitude(roll_rad)
    )
    return np.asarray(margin, dtype=np.float64)


def _magnitude(angle_rad: npt.ArrayLike) -> FloatArray:
    """|angle|; an angle that is not finite counts as the worst one."""
    angle = np.abs(np.asarray(angle_rad, dtype=np.float64))
    return np.where(np.isfinite(angle), angle, _WORST_ANGLE_RAD)

# SPDX-License-Identifier: MIT
"""From the configuration to a learner, and from a learner to a policy file anyone can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from walkhome.native.compiled import bfloat16_pays
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.observation import ObservationLayout
from walkhome.robot.mdp.symmetry import symmetries

if TYPE_CHECKING:
    from walkhome.learning.learner import Learner

N_ACTIONS = 8


def observation_layout(config: Config) -> ObservationLayout:
    """The layout that a configuration asks for."""
    return ObservationLayout(frames=config.control.history_frames)


def cost_scale(config: Config, fell: bool = False) -> float:
    """What costs (rad) are multiplied by before learning: one budget becomes 1.

    Costs of a few hundredths beside rewards of several would need multipliers of hundreds, and
    the actor's loss divides by 1 + sum lambda (`learning.sac.actor_loss`): that would drown the
    reward. In units of the budget, a multiplier of one weighs a violation as much as the reward.

    A fall ends a roll-out a few steps after the limits were passed, and those few steps are all it
    costs. Where `constraint.after_fall` is `counted`, the robot stays as it fell: the last step
    (`fell`) costs c + gamma c + gamma^2 c + ..., what an absorbing state is worth.
    """
    counted = fell and config.constraint.after_fall == "counted"
    share = 1.0 - config.learning.cost_discount if counted else 1.0
    return 1.0 / (config.constraint.budget * share)


def n_constraints(config: Config) -> int:
    """2 for the vector form, 1 for the paper's margin."""
    return 2 if config.constraint.form == "vector" else 1


def precision(config: Config) -> Literal["float32", "bfloat16"]:
    """Of the learner's products; "auto" is bfloat16 where that is known to be faster."""
    wanted = config.learning.precision
    if config.learning.device == "cuda":
        return "float32"
    if wanted != "auto":
        return wanted
    return "bfloat16" if bfloat16_pays() else "float32"


def make_learner(config: Config) -> Learner:
    """A fresh learner for the configured tasks and constraints; seeded by `run.seed`."""
    # Whoever only drives the robot does without torch (design section 6).
    import torch

    from walkhome.learning.constraint import ConstraintConfig
    from walkhome.learning.learner import Learner, LearnerConfig
    from walkhome.learning.sac import SacConfig

    torch.set_num_threads(config.learning.torch_threads)
    learning, constraint = config.learning, config.constraint
    k = n_constraints(config)
    sac = SacConfig(
        hidden_sizes=learning.hidden_sizes,
        batch_size=learning.batch_size,
        learning_rate=learning.learning_rate,
        temperature_learning_rate=learning.temperature_learning_rate,
        discount=learning.discount,
        cost_discount=learning.cost_discount,
        tau=learning.tau,
        initial_temperature=learning.initial_temperature,
        target_entropy=learning.target_entropy,
        layer_norm=learning.layer_norm,
        actor_every=learning.actor_every,
    )
    multipliers = ConstraintConfig(
        kind=constraint.kind,
        # The paper's margin is held at zero, the two angles under a small budget each; all in units
        # of that budget.
        budgets=(1.0, 1.0) if k == 2 else (0.0,),
        initial=(constraint.lambda_initial,) * k,
        fixed=(constraint.lambda_fixed,) * k,
        lambda_min=constraint.lambda_min,
        lambda_max=constraint.lambda_max,
        proportional=constraint.kp,
        integral=constraint.ki,
        derivative=constraint.kd,
        growth=constraint.growth,
        dual_rate=constraint.learning_rate,
    )
    return Learner(
        LearnerConfig(
            sac,
            multipliers,
            learning.replay_capacity,
            learning.relabel,
            learning.shared_network,
            backend=learning.backend,
            precision=precision(config),
            critics=learning.critics,
            device=learning.device,
        ),
        config.tasks,
        observation_layout(config).size,
        N_ACTIONS,
        k,
        config.run.seed,
        symmetries(learning.symmetry, observation_layout(config), config.tasks),
    )


def policy_metadata(config: Config) -> dict[str, Any]:
    """What a stranger needs to run a saved policy: layout, scales, rate, filter, body."""
    return {
        "format": 1,
        "tasks": list(config.tasks),
        "observation": observation_layout(config).to_json(),
        "action": {"layout": "swing[4], extension[4] around the stance", "range": [-1.0, 1.0]},
        "rate_hz": config.control.rate_hz,
        "action_filter": config.control.action_filter.model_dump(),
        "body": config.robot.model_dump(),
    }

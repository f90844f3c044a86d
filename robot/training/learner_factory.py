# SPDX-License-Identifier: MIT
"""Builds the learner that a configuration describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from walkhome.native.compiled import bfloat16_pays
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.costs import n_constraints
from walkhome.robot.mdp.observation import N_ACTIONS, observation_layout
from walkhome.robot.mdp.symmetry import symmetries

if TYPE_CHECKING:
    from collections.abc import Callable

    from walkhome.learning.learner import Learner
    from walkhome.learning.sac import Sac

# Parts of the algorithm that are not in the configuration.
N_CRITICS = 2  # Haarnoja et al. 2018, arXiv 1812.05905, section 5
LOG_STD_RANGE = (-10.0, 2.0)
SMOOTHING = 0.7


def precision(config: Config) -> Literal["float32", "bfloat16"]:
    """Precision of the learner's products; `auto` is bfloat16 where it is known to be faster."""
    wanted = config.learning.precision
    if config.learning.device == "cuda":
        return "float32"
    if wanted != "auto":
        return wanted
    return "bfloat16" if bfloat16_pays() else "float32"


def make_learner(config: Config, make_sac: Callable[..., Sac] | None = None) -> Learner:
    """Create a learner for the configured tasks and constraints, seeded by `run.seed`.

    Args:
        config: The run's configuration.
        make_sac: See `learning.learner.Learner`.
    """
    # Imported here: a control process that only drives the robot does without torch.
    import torch

    from walkhome.learning.constraint import ConstraintConfig
    from walkhome.learning.learner import Learner, LearnerConfig
    from walkhome.learning.networks import NetworkSizes
    from walkhome.learning.sac import SacConfig

    torch.set_num_threads(config.learning.torch_threads)
    learning, constraint = config.learning, config.constraint
    k = n_constraints(config.constraint)
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
        n_critics=N_CRITICS,
        log_std_range=LOG_STD_RANGE,
    )
    multipliers = ConstraintConfig(
        kind=constraint.kind,
        # The paper's margin is held at zero, the two angles under a small budget each; all in units
        # of that budget.
        budgets=(1.0, 1.0) if k == 2 else (0.0,),
        scales=None,
        initial=(constraint.lambda_initial,) * k,
        fixed=(constraint.lambda_fixed,) * k,
        lambda_min=constraint.lambda_min,
        lambda_max=constraint.lambda_max,
        proportional=constraint.kp,
        integral=constraint.ki,
        derivative=constraint.kd,
        growth=constraint.growth,
        smoothing=SMOOTHING,
        dual_rate=constraint.learning_rate,
    )
    return Learner(
        LearnerConfig(
            sac=sac,
            constraint=multipliers,
            replay_capacity=learning.replay_capacity,
            relabel=learning.relabel,
            shared_network=learning.shared_network,
            backend=learning.backend,
            precision=precision(config),
            device=learning.device,
        ),
        config.tasks,
        NetworkSizes(observation_layout(config.control).size, N_ACTIONS, k),
        config.run.seed,
        symmetries(learning.symmetry, observation_layout(config.control), config.tasks),
        make_sac,
    )

# SPDX-License-Identifier: MIT
"""Settings of the learners that the benchmarks build by hand, without a run's configuration.

The values that Stable-Baselines3's SAC has too are its defaults, so that the two compare fairly.
"""

from __future__ import annotations

from typing import Any

from walkhome.learning.constraint import ConstraintConfig
from walkhome.learning.learner import LearnerConfig
from walkhome.learning.sac import SacConfig


def sac_settings(**changes: Any) -> SacConfig:
    """Settings of one task's update, with some of them changed."""
    values: dict[str, Any] = {
        "hidden_sizes": (256, 256),
        "batch_size": 256,
        "learning_rate": 3e-4,
        "temperature_learning_rate": 3e-4,
        "discount": 0.99,
        "cost_discount": 0.99,
        "tau": 0.005,
        "initial_temperature": 0.1,
        "target_entropy": None,
        "layer_norm": True,
        "actor_every": 1,
        "n_critics": 2,
        "log_std_range": (-10.0, 2.0),
    }
    return SacConfig(**{**values, **changes})


def constraint_settings(**changes: Any) -> ConstraintConfig:
    """Settings of the multipliers (none unless `kind` is given), with some of them changed."""
    values: dict[str, Any] = {
        "kind": "off",
        "budgets": (),
        "scales": None,
        "initial": None,
        "fixed": (),
        "lambda_min": 0.0,
        "lambda_max": 100.0,
        "proportional": 0.5,
        "integral": 0.06,
        "derivative": 0.5,
        "growth": 0.1,
        "smoothing": 0.7,
        "dual_rate": 0.05,
    }
    return ConstraintConfig(**{**values, **changes})


def learner_settings(
    sac: SacConfig, constraint: ConstraintConfig, replay_capacity: int, **changes: Any
) -> LearnerConfig:
    """Settings of a learner (fast, float32, on the processor), with some of them changed."""
    values: dict[str, Any] = {
        "relabel": True,
        "shared_network": False,
        "backend": "fast",
        "precision": "float32",
        "device": "cpu",
    }
    parts = {"sac": sac, "constraint": constraint, "replay_capacity": replay_capacity}
    return LearnerConfig(**{**values, **parts, **changes})

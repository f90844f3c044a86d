# SPDX-License-Identifier: MIT
"""Complete settings of a learner, and a small replay with batches."""

from __future__ import annotations

import numpy as np

from walkhome.learning.constraint import ConstraintConfig
from walkhome.learning.learner import LearnerConfig
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.replay import Replay
from walkhome.learning.sac import SacConfig
from walkhome.learning.transition import Transition

OBS, A, K, N = 4, 2, 2, 32
SMALL = {"hidden_sizes": (24, 16), "batch_size": N}
SIZES = NetworkSizes(OBS, A, K)


def sac_config(hidden_sizes=(256, 256), batch_size=256, learning_rate=3e-4, **changes) -> SacConfig:
    """SAC settings: the defaults of Stable-Baselines3 where it has them, with changes."""
    values = {
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
    first = {"hidden_sizes": hidden_sizes, "batch_size": batch_size, "learning_rate": learning_rate}
    return SacConfig(**{**values, **first, **changes})


def constraint_config(**changes) -> ConstraintConfig:
    """PID multipliers without a floor, with changes."""
    values = {
        "kind": "pid",
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


def learner_config(sac=None, constraint=None, replay_capacity=300_000, **changes) -> LearnerConfig:
    values = {
        "sac": sac or sac_config(),
        "constraint": constraint or constraint_config(),
        "replay_capacity": replay_capacity,
        "relabel": True,
        "shared_network": False,
        "backend": "fast",
        "precision": "float32",
        "device": "cpu",
    }
    return LearnerConfig(**{**values, **changes})


def random_replay(n: int = 200, k: int = K, seed: int = 0) -> Replay:
    rng = np.random.default_rng(seed)
    replay = Replay(n, OBS, A, 1, k)
    for _ in range(n):
        replay.add(
            Transition(
                rng.standard_normal(OBS),
                rng.uniform(-1, 1, A),
                rng.standard_normal(1),
                rng.uniform(0, 1, k),
                rng.standard_normal(OBS),
                bool(rng.random() < 0.2),
                "only",
            ),
            0,
        )
    return replay


def sample(replay: Replay, seed: int = 0, n: int = N):
    return replay.sample(np.random.default_rng(seed), n, 0, False)

# SPDX-License-Identifier: MIT
"""Small random batches for one learner."""

from __future__ import annotations

import numpy as np
import torch

from walkhome.learning.replay import Batch

OBS, A, N = 5, 3, 9
PRICES = np.array([0.25, 1.5])


def make_batch(seed: int, n_constraints: int, n: int = N) -> Batch:
    """A batch of `n` random transitions in torch's default floating-point type."""
    rng = np.random.default_rng(seed)
    kind = str(torch.get_default_dtype()).removeprefix("torch.")
    both = rng.standard_normal((n, OBS + A)).astype(kind)
    return Batch(
        observation_action=both,
        observation=both[:, :OBS],
        action=both[:, OBS:],
        reward=rng.standard_normal(n).astype(kind),
        cost=rng.uniform(0.0, 1.0, (n, n_constraints)).astype(kind),
        next_observation=rng.standard_normal((n, OBS)).astype(kind),
        not_done=(rng.random(n) > 0.2).astype(kind),
    )

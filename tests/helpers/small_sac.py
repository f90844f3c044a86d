# SPDX-License-Identifier: MIT
"""A small SAC: sizes, a replay with random transitions, batches."""

from __future__ import annotations

import numpy as np

from walkhome.learning.replay import Replay
from walkhome.learning.transition import Transition

OBS, A, K, N = 4, 2, 2, 32
SMALL = {"hidden_sizes": (24, 16), "batch_size": N}


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

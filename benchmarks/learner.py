# SPDX-License-Identifier: MIT
"""Speed of one gradient step: gradients written out (`FastSac`) against autograd (`Sac`).

Both do the update that the robot does (observations of 126 numbers, 8 actions, 2 priced
constraints, networks of 2 x 256), in turns in one process on one thread, at batches of 256 and 128.
Beside them stands what the matrix products of `Sac` alone would take, at the best rate this machine
reaches on 256 x 256 matrices that never leave its cache.

Times are CPU times, which a busy machine disturbs least; the ratio is that of updates per second,
fast over plain, the median over turns. With --json, `ratio_plain` is that at the larger batch.

Run: python benchmarks/learner.py [--quick] [--json]; takes 30 CPU seconds, with --quick 7.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from learning.fast_sac import FastSac
from learning.replay import Replay
from learning.sac import Sac, SacConfig

OBSERVATIONS, ACTIONS, CONSTRAINTS = 126, 8, 2
BATCHES = (256, 128)
UPDATES_PER_TURN = 4
PRICES = np.array([0.3, 0.5])


@dataclass(frozen=True)
class Result:
    """One batch size: CPU milliseconds per update, medians over turns."""

    batch: int
    plain_ms: float
    fast_ms: float
    products_ms: float
    """What the matrix products would take at the best rate."""
    ratio_plain: float


def cpu_name() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def filled_replay() -> Replay:
    """A thousand random transitions."""
    rng = np.random.default_rng(0)
    replay = Replay(1000, OBSERVATIONS, ACTIONS, 1, CONSTRAINTS)
    for _ in range(replay.capacity):
        replay.add(
            rng.standard_normal(OBSERVATIONS),
            rng.uniform(-1.0, 1.0, ACTIONS),
            rng.standard_normal(1),
            rng.uniform(0.0, 1.0, CONSTRAINTS),
            rng.standard_normal(OBSERVATIONS),
            bool(rng.random() < 0.02),
            0,
        )
    return replay


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """CPU seconds per repeat."""
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def best_rate(turns: int) -> float:
    """The best rate of matrix products over the turns, in operations per second."""
    a, b, c = (torch.randn(256, 256) for _ in range(3))
    return 2 * 256**3 / min(cpu_seconds(lambda: torch.mm(a, b, out=c), 20) for _ in range(turns))


def operations(config: SacConfig) -> float:
    """Floating-point operations of the matrix products in one update of `Sac`.

    A layer costs one product forward, one for the gradient of its weights, and one for that of its
    input. The critics learn (three products, but for the first layer's input), show the actor its
    way (two, the first layer's for the actions alone) and serve as targets (one).
    """
    critics = config.n_critics + 1
    sizes = config.hidden_sizes
    first = (OBSERVATIONS + ACTIONS) * config.hidden_sizes[0]
    rest = sum(a * b for a, b in pairwise(config.hidden_sizes))
    heads = (config.n_critics + CONSTRAINTS) * sizes[-1]
    per_critic = 4 * first + ACTIONS * sizes[0] + 6 * rest
    actor_first = OBSERVATIONS * sizes[0]
    actor_rest = rest + 2 * ACTIONS * sizes[-1]
    actor = 3 * actor_first + 4 * actor_rest
    return 2.0 * config.batch_size * (critics * per_critic + 6 * heads + actor)


def measure(batch_size: int, turns: int, rate: float, replay: Replay) -> Result:
    """Both learners in turns."""
    config = SacConfig(batch_size=batch_size)
    learners = [make(config, OBSERVATIONS, ACTIONS, CONSTRAINTS, seed=0) for make in (Sac, FastSac)]
    batch = replay.sample(np.random.default_rng(0), batch_size, 0, only_own=False)
    times: list[list[float]] = [[], []]
    for turn in range(turns + 1):
        for learner, seconds in zip(learners, times, strict=True):
            taken = cpu_seconds(partial(learner.update, batch, PRICES), UPDATES_PER_TURN)
            if turn:  # the first one makes the buffers
                seconds.append(1e3 * taken)
    plain, fast = times
    return Result(
        batch_size,
        statistics.median(plain),
        statistics.median(fast),
        1e3 * operations(config) / rate,
        statistics.median(p / f for p, f in zip(plain, fast, strict=True)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: shows that it runs")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    turns = 5 if arguments.quick else 80
    rate = best_rate(10 if arguments.quick else 100)
    replay = filled_replay()
    results = [measure(batch, turns, rate, replay) for batch in BATCHES]
    setup = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    print(", ".join(f"{name} {value}" for name, value in setup.items()))
    print(f"best rate of products: {rate / 1e9:.1f} GFLOP/s")
    print("batch  plain ms   fast ms  products ms  plain 1/s  fast 1/s  fast/plain")
    for r in results:
        print(
            f"{r.batch:5d}  {r.plain_ms:8.2f}  {r.fast_ms:8.2f}  {r.products_ms:11.2f}"
            f"  {1e3 / r.plain_ms:9.1f}  {1e3 / r.fast_ms:8.1f}  {r.ratio_plain:10.2f}"
        )
    if arguments.json:
        outcome = {
            "ratio_plain": results[0].ratio_plain,
            "gflops": rate / 1e9,
            "batches": [asdict(r) for r in results],
            **setup,
        }
        print(json.dumps(outcome))


if __name__ == "__main__":
    main()

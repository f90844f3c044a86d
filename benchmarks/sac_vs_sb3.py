# SPDX-License-Identifier: MIT
"""Returns of our SAC and of Stable-Baselines3's after the same number of steps.

Both get a 2 x 256 ReLU actor and twin critics without layer normalisation, batch 256, learning
rates 3e-4, discount 0.99, tau 0.005, temperature from 1 toward an entropy of minus the number of
actions, 100 random steps, then one update per step. Ours runs without constraints; `ours_norm` is
ours with layer normalisation in the critics, as the robot uses it, `ours_crossq` with CrossQ's
critics (by autograd), `ours_cuda` is `ours` on an NVIDIA GPU. The result is the mean return of
deterministic episodes after the last step, over seeds, with a bootstrap 95 % interval.

Needs `pip install -r benchmarks/requirements.txt`. Takes on one core about 2 (ours) to 4 (theirs)
minutes per seed for Pendulum-v1 (10 000 steps) and 6 to 12 minutes per seed for 30 000 steps of
HalfCheetah-v5: about 3 hours of one core for everything, half as long with `--jobs 2`. `--quick`
is 600 steps of one seed of Pendulum, 1 minute: a smoke test without meaningful results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

STEPS = {"Pendulum-v1": 10_000, "HalfCheetah-v5": 30_000, "Hopper-v5": 30_000}
RANDOM_STEPS = 100
EVALUATIONS = 10


def evaluate(name: str, act: Callable[[np.ndarray], np.ndarray], seed: int) -> float:
    """Mean return of deterministic episodes; their starts are the same for all learners."""
    import gymnasium

    env = gymnasium.make(name)
    returns = []
    for episode in range(EVALUATIONS):
        observation, _ = env.reset(seed=10_000 + 100 * seed + episode)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def learn_ours(
    name: str, seed: int, steps: int, layer_norm: bool, crossq: bool, device: str
) -> tuple[float, float]:
    """Final return and CPU seconds of learning."""
    import gymnasium
    from learner_settings import constraint_settings, learner_settings, sac_settings

    from walkhome.learning.learner import Learner
    from walkhome.learning.networks import NetworkSizes
    from walkhome.learning.transition import Transition

    make_sac = None
    if crossq:
        from crossq import CrossSac

        make_sac = CrossSac
    env = gymnasium.make(name)
    space = env.action_space
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    sac = sac_settings(layer_norm=layer_norm, initial_temperature=1.0, log_std_range=(-20.0, 2.0))
    capacity = max(steps, 256)
    config = learner_settings(sac, constraint_settings(kind="off"), capacity, device=device)
    size = env.observation_space.shape[0]
    learner = Learner(config, ("only",), NetworkSizes(size, len(low), 0), seed, make_sac=make_sac)
    policy = learner.policy("only")
    rng, no_costs = np.random.default_rng(seed), np.zeros(0)

    def scaled(action: np.ndarray) -> np.ndarray:
        return (low + 0.5 * (action + 1.0) * (high - low)).astype(space.dtype)

    began = time.process_time()
    observation, _ = env.reset(seed=seed)
    for step in range(steps):
        if step < RANDOM_STEPS:
            action = rng.uniform(-1.0, 1.0, len(low))
        else:
            action = policy.act(observation, False, rng)
        following, reward, terminated, truncated, _ = env.step(scaled(action))
        earned = np.array([reward])
        learner.add(
            Transition(observation, action, earned, no_costs, following, terminated, "only")
        )
        observation = env.reset()[0] if terminated or truncated else following
        if step >= RANDOM_STEPS:
            learner.update(1)
    spent = time.process_time() - began
    return evaluate(name, lambda o: scaled(policy.act(o, True)), seed), spent


def learn_theirs(name: str, seed: int, steps: int) -> tuple[float, float]:
    """Final return and CPU seconds of learning."""
    import gymnasium
    from stable_baselines3 import SAC

    model = SAC(
        "MlpPolicy",
        gymnasium.make(name),
        learning_rate=3e-4,
        buffer_size=max(steps, 256),
        learning_starts=RANDOM_STEPS,
        batch_size=256,
        tau=0.005,
        gamma=0.99,
        train_freq=1,
        gradient_steps=1,
        seed=seed,
        device="cpu",
    )
    began = time.process_time()
    model.learn(steps)
    spent = time.process_time() - began
    return evaluate(name, lambda o: model.predict(o, deterministic=True)[0], seed), spent


def job(learner: str, name: str, seed: int, steps: int) -> dict:
    """Train and evaluate one learner on one task with one seed."""
    import torch

    torch.set_num_threads(1)
    if learner == "sb3":
        final, spent = learn_theirs(name, seed, steps)
    else:
        device = "cuda" if learner == "ours_cuda" else "cpu"
        final, spent = learn_ours(
            name, seed, steps, learner == "ours_norm", learner == "ours_crossq", device
        )
    return {"learner": learner, "task": name, "seed": seed, "return": final, "cpu_s": spent}


def interval(values: list[float]) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean over seeds."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.percentile(draws.mean(1), [2.5, 97.5])
    return float(low), float(high)


def summarise(results: list[dict], name: str, learners: list[str]) -> dict:
    """Print the table of one task and return its numbers."""
    table = {}
    for learner in learners:
        own = [r for r in results if r["task"] == name and r["learner"] == learner]
        returns = [r["return"] for r in sorted(own, key=lambda r: r["seed"])]
        low, high = interval(returns)
        cpu_s = float(np.mean([r["cpu_s"] for r in own]))
        table[learner] = {
            "mean": float(np.mean(returns)),
            "interval": [low, high],
            "returns": returns,
            "cpu_s": cpu_s,
        }
        print(
            f"{name:16} {learner:10} mean return {np.mean(returns):9.1f}  "
            f"95 % [{low:9.1f}, {high:9.1f}]  {len(returns)} seeds, {cpu_s:.0f} CPU s each"
        )
    for learner in learners:
        if learner != "sb3" and "sb3" in table:
            (a, b), (c, d) = table[learner]["interval"], table["sb3"]["interval"]
            table[learner]["overlaps_sb3"] = bool(a <= d and c <= b)
            speed = table["sb3"]["cpu_s"] / table[learner]["cpu_s"]
            print(
                f"{name:16} {learner}: intervals "
                f"{'overlap' if table[learner]['overlaps_sb3'] else 'do NOT overlap'}, "
                f"{speed:.2f} times the speed"
            )
    return table


def main() -> int:
    """Run all jobs and print the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="Pendulum-v1,HalfCheetah-v5")
    parser.add_argument("--learners", default="sb3,ours,ours_norm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--steps",
        type=int,
        help="steps per run (default: 10 000 for Pendulum, 30 000 for HalfCheetah)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    a = parser.parse_args()
    tasks, learners = a.tasks.split(","), a.learners.split(",")
    seeds, steps = a.seeds, a.steps
    if a.quick:
        tasks, seeds, steps = ["Pendulum-v1"], 1, 600
    results = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(a.jobs, mp_context=context) as pool:
        futures = [
            pool.submit(job, learner, name, seed, steps or STEPS[name])
            for name in tasks
            for seed in range(seeds)
            for learner in learners
        ]
        for future in as_completed(futures):
            r = future.result()
            results.append(r)
            print(
                f"{r['task']:16} {r['learner']:10} seed {r['seed']}: "
                f"return {r['return']:9.1f}, {r['cpu_s']:.0f} CPU s",
                flush=True,
            )
    tables = {name: summarise(results, name, learners) for name in tasks}
    if a.json:
        print(
            json.dumps({"seeds": seeds, "steps": {n: steps or STEPS[n] for n in tasks}, **tables})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

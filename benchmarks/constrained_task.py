# SPDX-License-Identifier: MIT
"""A constrained task with a known solution: does the multiplier reach it, from both sides?

At each step the state s is drawn uniformly from [-1, 1], independent of the past. An action a in
[-1, 1] earns -(a - 0.6 - 0.3 s)^2 and costs a; the mean cost may be 0.1. With a multiplier lambda
the best action is 0.6 + 0.3 s - lambda / 2, its mean cost 0.6 - lambda / 2, so that

    lambda = 2 (0.6 - 0.1) = 1,    mean cost = 0.1,    reward per step = -(lambda / 2)^2 = -0.25,

minus the variance of the policy, which follows from the target entropy. Costs are measured
once per episode of 50 steps, as on a robot, with exploration noise.

Takes about 30 s per run on one busy core: 6 minutes for `pid` and `dual`, two starts and three
seeds; `--quick` is one run of each method, 1 minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from learner_settings import constraint_settings, learner_settings, sac_settings

from walkhome.learning.learner import Learner
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.transition import Transition

BUDGET = 0.1
LAMBDA = 1.0
REWARD = -0.25
STEPS = 50


def wanted(state: float) -> float:
    """The best action in a state without the constraint."""
    return 0.6 + 0.3 * state


def run(kind: str, start: float, seed: int, episodes: int) -> dict:
    """Train once; returns the means over the last quarter of the episodes."""
    began = time.process_time()
    sac = sac_settings(
        hidden_sizes=(32, 32),
        batch_size=64,
        learning_rate=1e-3,
        temperature_learning_rate=1e-3,
        discount=0.9,
        cost_discount=0.9,
        tau=0.01,
    )
    constraint = constraint_settings(kind=kind, budgets=(BUDGET,), initial=(start,))
    learner = Learner(
        learner_settings(sac, constraint, STEPS * episodes), ("only",), NetworkSizes(1, 1, 1), seed
    )
    policy = learner.policy("only")
    rng = np.random.default_rng(seed)
    lambdas, costs, rewards = [], [], []
    state = rng.uniform(-1, 1)
    for episode in range(episodes):
        total_cost = total_reward = 0.0
        for _ in range(STEPS):
            if episode < 2:
                action = rng.uniform(-1, 1)
            else:
                action = float(policy.act([state], False, rng)[0])
            reward, following = -((action - wanted(state)) ** 2), rng.uniform(-1, 1)
            numbers = (np.array([x]) for x in (state, action, reward, action, following))
            learner.add(Transition(*numbers, False, "only"))
            learner.update(1)
            total_cost, total_reward, state = total_cost + action, total_reward + reward, following
        if episode >= 2:
            learner.end_episode("only", [total_cost / STEPS])
        lambdas.append(float(learner.multipliers("only")[0]))
        costs.append(total_cost / STEPS)
        rewards.append(total_reward / STEPS)
    last = slice(-(episodes // 4), None)
    held = np.abs(np.array(lambdas) - LAMBDA) < 0.2 * LAMBDA
    return {
        "kind": kind,
        "start": start,
        "seed": seed,
        "lambda": float(np.mean(lambdas[last])),
        "lambda_std": float(np.std(lambdas[last])),
        "cost": float(np.mean(costs[last])),
        "reward": float(np.mean(rewards[last])),
        "within_20_percent_after_episodes": int(np.argmax(held)) if held.any() else None,
        "cpu_s": time.process_time() - began,
    }


def main() -> int:
    """Run all cases and print; exit code 1 if one misses the solution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--kinds", default="pid,dual")
    parser.add_argument("--quick", action="store_true", help="one start, one seed")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    starts, seeds = (0.0, 3.0), arguments.seeds
    if arguments.quick:
        starts, seeds = (0.0,), 1
    print(f"answer: lambda {LAMBDA:.2f}, cost {BUDGET:.2f}, reward {REWARD:.2f} less the variance")
    results = []
    for kind in arguments.kinds.split(","):
        for start in starts:
            for seed in range(seeds):
                r = run(kind, start, seed, arguments.episodes)
                results.append(r)
                print(
                    f"{kind:4} from {start:.0f}, seed {seed}: "
                    f"lambda {r['lambda']:.3f} +- {r['lambda_std']:.3f} "
                    f"(error {r['lambda'] - LAMBDA:+.3f}), cost {r['cost']:.3f}, "
                    f"reward {r['reward']:.3f}, {r['cpu_s']:.0f} s",
                    flush=True,
                )
    lambda_error = max(abs(r["lambda"] - LAMBDA) for r in results)
    cost_error = max(r["cost"] - BUDGET for r in results)
    good = lambda_error < 0.2 and cost_error < 0.02
    print(
        f"largest error of lambda {lambda_error:.3f} (allowed 0.2), largest cost over the budget "
        f"{cost_error:+.3f} (allowed 0.02): {'passed' if good else 'FAILED'}"
    )
    if arguments.json:
        answer = {"lambda": LAMBDA, "cost": BUDGET, "reward": REWARD}
        print(json.dumps({"passed": good, "answer": answer, "runs": results}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Gradient updates per second: ours against Stable-Baselines3, SBX and CleanRL's SAC.

One process, one thread, one core, all learners in turns of eight updates: observations of 126
numbers, 8 actions, networks of 2 x 256, batches of 256 and 128, sampling included. Ours has one
critic more than the others (the cost critic, for two constraints with positive multipliers) and
layer normalisation in all three. `plain` is our reference by autograd. SBX does its eight updates
in one call, its fastest way. CleanRL is a script, not a package: `cleanrl_update` does what its
`sac_continuous_action.py` does per step, on Stable-Baselines3's buffer, which it uses too.

The last column is the time that our matrix products alone would take at the best rate this machine
reaches on 256 x 256 matrices in the cache, in each precision.

Times are CPU times, which a busy machine disturbs least. Ratios are ratios of updates per second,
medians over turns. With --json, `ratio_<peer>` is ours in bfloat16 over the peer at batch 256, and
`float32_ratio_<peer>` the same in float32.

With --device cuda all but `processor` learn on a CUDA device, ours (`float32`) as a CUDA graph.
Times are then wall times that include the device's, the products' rate is that of float32 products
of 4096 x 4096, and `ratio_<peer>` is ours on the device over the peer. `processor` is ours on this
machine's processor.

Run: pip install -c constraints.txt -r benchmarks/requirements.txt
     python benchmarks/learner.py [--quick] [--json] [--peers sb3,sbx,cleanrl] [--device cuda]
Takes 3 CPU minutes, with --quick 1 (most of it is SBX's compiler).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 "
    + os.environ.get("XLA_FLAGS", "")
)

import numpy as np
import torch
from learner_settings import constraint_settings, learner_settings, sac_settings

from walkhome.learning.cuda_sac import why_no_cuda
from walkhome.learning.fused.kernels import Kernels
from walkhome.learning.learner import Learner
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.sac import SacConfig
from walkhome.learning.transition import Transition
from walkhome.native.compiled import bfloat16_pays

OBSERVATIONS, ACTIONS, CONSTRAINTS = 126, 8, 2
BATCHES = (256, 128)
UPDATES_PER_TURN = 8
TRANSITIONS = 2000
PACKAGES = {"sb3": "stable_baselines3", "sbx": "sbx-rl", "cleanrl": "stable_baselines3"}

Update = Callable[[], object]


def cpu_name() -> str:
    """Model name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def make_env() -> Any:
    """An environment of random numbers with the right sizes."""
    import gymnasium

    class Noise(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1.0, 1.0, (OBSERVATIONS,), np.float32)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
            done = bool(self.np_random.random() < 0.02)
            return self.observation_space.sample(), self.np_random.normal(), done, False, {}

    return Noise()


def ours(batch: int, backend: str, precision: str, device: str = "cpu") -> Update:
    """Update function of our learner of one task, with a filled replay."""
    rng = np.random.default_rng(0)
    config = learner_settings(
        sac_settings(batch_size=batch),
        constraint_settings(
            kind="fixed", budgets=(1.0,) * CONSTRAINTS, initial=(0.4,) * 2, fixed=(0.3, 0.5)
        ),
        replay_capacity=TRANSITIONS,
        backend=backend,
        precision=precision,
        device=device,
    )
    learner = Learner(config, ("walk",), NetworkSizes(OBSERVATIONS, ACTIONS, CONSTRAINTS), seed=0)
    if learner.slow_because:
        sys.exit(f"error: {learner.slow_because}")
    for _ in range(TRANSITIONS):
        learner.add(
            Transition(
                rng.standard_normal(OBSERVATIONS),
                rng.uniform(-1.0, 1.0, ACTIONS),
                rng.standard_normal(1),
                rng.uniform(0.0, 1.0, CONSTRAINTS),
                rng.standard_normal(OBSERVATIONS),
                bool(rng.random() < 0.02),
                "walk",
            )
        )
    return lambda: learner.update(UPDATES_PER_TURN)


def filled(make: Any, batch: int, device: str) -> Any:
    """A model with Stable-Baselines3's interface, with a filled replay and no updates yet."""
    model = make(
        "MlpPolicy",
        make_env(),
        policy_kwargs={"net_arch": [256, 256]},
        batch_size=batch,
        buffer_size=TRANSITIONS,
        learning_starts=TRANSITIONS,
        device=device,
        seed=0,
    )
    return model.learn(TRANSITIONS)


def sb3(batch: int, device: str) -> Update:
    """Update function of Stable-Baselines3's SAC."""
    from stable_baselines3 import SAC

    return partial(filled(SAC, batch, device).train, UPDATES_PER_TURN, batch)


def sbx(batch: int, device: str) -> Update:
    """Update function of SBX's SAC (Stable-Baselines3 in JAX)."""
    os.environ["JAX_PLATFORMS"] = device
    import jax
    from sbx import SAC

    model = filled(SAC, batch, "cpu")  # JAX chooses the device itself
    sizes = (batch, UPDATES_PER_TURN) if _sbx_batch_first(SAC) else (UPDATES_PER_TURN, batch)

    def update() -> None:
        model.train(*sizes)
        jax.block_until_ready((model.policy.actor_state.params, model.policy.qf_state.params))

    return update


def _sbx_batch_first(sac: Any) -> bool:
    import inspect

    return list(inspect.signature(sac.train).parameters)[1] == "batch_size"


def cleanrl(batch: int, device: str) -> Update:
    """Update function of CleanRL's SAC, on Stable-Baselines3's buffer."""
    from stable_baselines3 import SAC

    buffer = filled(SAC, batch, device).replay_buffer
    with torch.device(device):
        networks = CleanNetworks()
    return lambda: [networks.update(buffer.sample(batch)) for _ in range(UPDATES_PER_TURN)]


class CleanNetworks:
    """Actor, two critics, their targets and optimisers, as in CleanRL's script."""

    def __init__(self) -> None:
        nn = torch.nn
        torch.manual_seed(0)

        def critic() -> torch.nn.Module:
            sizes = [OBSERVATIONS + ACTIONS, 256, 256]
            hidden = [x for a, b in pairwise(sizes) for x in (nn.Linear(a, b), nn.ReLU())]
            return nn.Sequential(*hidden, nn.Linear(256, 1))

        self.critics, self.targets = ([critic() for _ in range(2)] for _ in range(2))
        self.trunk = nn.Sequential(
            nn.Linear(OBSERVATIONS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
        )
        self.mean, self.log_std = nn.Linear(256, ACTIONS), nn.Linear(256, ACTIONS)
        self.log_alpha = torch.zeros(1, requires_grad=True)
        q = [p for c in self.critics for p in c.parameters()]
        pi = [p for m in (self.trunk, self.mean, self.log_std) for p in m.parameters()]
        self.q_optimiser = torch.optim.Adam(q, lr=1e-3)
        self.actor_optimiser = torch.optim.Adam(pi, lr=3e-4)
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=1e-3)

    def act(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sampled actions, (N, A), and their log densities, (N, 1)."""
        x = self.trunk(observation)
        log_std = -5.0 + 3.5 * (torch.tanh(self.log_std(x)) + 1.0)
        normal = torch.distributions.Normal(self.mean(x), log_std.exp())
        u = normal.rsample()
        action = torch.tanh(u)
        log_prob = normal.log_prob(u) - torch.log(1.0 - action.pow(2) + 1e-6)
        return action, log_prob.sum(1, keepdim=True)

    def value(self, critics: list[Any], state: torch.Tensor, action: torch.Tensor) -> list[Any]:
        """Values by each critic, (N, 1) each."""
        return [critic(torch.cat([state, action], 1)) for critic in critics]

    def update(self, data: Any) -> None:
        """One step of critics, actor, temperature and targets."""
        alpha = self.log_alpha.exp().item()
        with torch.no_grad():
            action, log_prob = self.act(data.next_observations)
            following = torch.min(*self.value(self.targets, data.next_observations, action))
            target = data.rewards + (1 - data.dones) * 0.99 * (following - alpha * log_prob)
        values = self.value(self.critics, data.observations, data.actions)
        loss = sum(torch.nn.functional.mse_loss(v, target) for v in values)
        self.q_optimiser.zero_grad()
        loss.backward()
        self.q_optimiser.step()
        action, log_prob = self.act(data.observations)
        value = torch.min(*self.value(self.critics, data.observations, action))
        self.actor_optimiser.zero_grad()
        (alpha * log_prob - value).mean().backward()
        self.actor_optimiser.step()
        with torch.no_grad():
            _, log_prob = self.act(data.observations)
        self.alpha_optimiser.zero_grad()
        (-self.log_alpha.exp() * (log_prob - ACTIONS)).mean().backward()
        self.alpha_optimiser.step()
        for live, target_net in zip(self.critics, self.targets, strict=True):
            for p, t in zip(live.parameters(), target_net.parameters(), strict=True):
                t.data.copy_(0.005 * p.data + 0.995 * t.data)


PEERS = {"sb3": sb3, "sbx": sbx, "cleanrl": cleanrl}


def cpu_seconds(work: Update) -> float:
    """CPU time of a call, s, over all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def device_seconds(work: Update) -> float:
    """Wall time of a call, s, until the CUDA device has finished it."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def best_rate(turns: int, kind: torch.dtype) -> float:
    """Best rate of our matrix products, with bias and ReLU, in operations per second."""
    n, kernels = 256, Kernels(kind)
    bias, weights, values = torch.zeros(n), torch.zeros(1, n), torch.zeros(n, 1)
    x, active, packed = kernels.stored(n, n), kernels.stored(n, n), kernels.packed(n, n)
    head = kernels.head(weights, torch.zeros(1), values)
    layers = kernels.chain([kernels.layer(x, packed, [bias], active, None, None)] * 20)
    least = min(cpu_seconds(lambda: kernels.forward(layers, head)) for _ in range(turns))
    return 20 * 2 * n**3 / least


def best_device_rate(turns: int) -> float:
    """Best rate of the CUDA device's float32 products, in operations per second."""
    n = 4096
    x, y = torch.ones(n, n, device="cuda"), torch.empty(n, n, device="cuda")
    least = min(device_seconds(lambda: torch.mm(x, x, out=y)) for _ in range(turns))
    return 2 * n**3 / least


def operations(config: SacConfig) -> float:
    """Floating-point operations of the matrix products in one update of ours.

    A layer takes one product forward, one for the gradient of its weight, and one for that of its
    input. The critics' update takes all three (two in the first layer), the targets take one, and
    the actor's loss takes one forward and one backward through the critics (in the first layer for
    the actions only; each sample goes back through one reward critic and the cost critic).
    """
    critics = config.n_critics + 1
    sizes = config.hidden_sizes
    first = (OBSERVATIONS + ACTIONS) * config.hidden_sizes[0]
    rest = sum(a * b for a, b in pairwise(config.hidden_sizes))
    heads = (config.n_critics + CONSTRAINTS) * sizes[-1]
    per_critic = 4 * first + 5 * rest
    back = 2 * (ACTIONS * sizes[0] + rest)
    actor_first = OBSERVATIONS * sizes[0]
    actor_rest = rest + 2 * ACTIONS * sizes[-1]
    actor = 3 * actor_first + 4 * actor_rest
    return 2.0 * config.batch_size * (critics * per_critic + back + 6 * heads + actor)


def our_learners(batch: int, device: str) -> dict[str, Update]:
    """Update functions of ours, by name; the others are compared with the first."""
    if device == "cuda":
        return {
            "float32": ours(batch, "fast", "float32", device),
            "processor": ours(batch, "fast", "bfloat16" if bfloat16_pays() else "float32"),
        }
    return {
        "bfloat16": ours(batch, "fast", "bfloat16"),
        "float32": ours(batch, "fast", "float32"),
        "plain": ours(batch, "plain", "float32"),
    }


def measure(batch: int, turns: int, peers: list[str], device: str) -> dict[str, list[float]]:
    """Milliseconds per update, by learner, one number per turn."""
    learners = our_learners(batch, device)
    learners |= {name: PEERS[name](batch, device) for name in peers}
    seconds = device_seconds if device == "cuda" else cpu_seconds
    times: dict[str, list[float]] = {name: [] for name in learners}
    for turn in range(turns + 2):
        for name, update in learners.items():
            taken = seconds(update)
            if turn >= 2:  # the first two allocate and compile
                times[name].append(1e3 * taken / UPDATES_PER_TURN)
    return times


def ratio(ours_ms: list[float], theirs_ms: list[float]) -> float:
    """Speed ratio of two learners: the median over turns."""
    return statistics.median(b / a for a, b in zip(ours_ms, theirs_ms, strict=True))


def main() -> None:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few turns, as a smoke test")
    parser.add_argument("--json", action="store_true", help="print JSON as the last line")
    parser.add_argument("--peers", default="sb3,sbx,cleanrl", help="comma-separated list, or none")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and (why := why_no_cuda()):
        sys.exit(f"error: --device cuda: {why}")
    peers = [] if arguments.peers == "none" else arguments.peers.split(",")
    if unknown := set(peers) - set(PEERS):
        sys.exit(f"error: --peers: {sorted(unknown)} not known; there are {sorted(PEERS)}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    turns = 5 if arguments.quick else 40
    tries = 10 if arguments.quick else 60
    if arguments.device == "cuda":
        rates = {"float32": best_device_rate(tries)}
    else:
        kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}
        rates = {name: best_rate(tries, kind) for name, kind in kinds.items()}
    setup: dict[str, Any] = {
        "cpu": cpu_name(),
        **({"gpu": torch.cuda.get_device_name()} if arguments.device == "cuda" else {}),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{PACKAGES[name]: version(PACKAGES[name]) for name in peers},
    }
    print(", ".join(f"{name} {value}" for name, value in setup.items()))
    outcome: dict[str, Any] = {**setup, "gflops": {n: r / 1e9 for n, r in rates.items()}}
    for batch in BATCHES:
        times = measure(batch, turns, peers, arguments.device)
        first = next(iter(times))
        limits = {n: 1e3 * operations(sac_settings(batch_size=batch)) / r for n, r in rates.items()}
        print(f"\nbatch {batch}   ms per update   updates/s   {first} is   of which products")
        for name, taken in times.items():
            limit = f"{limits[name]:8.2f} ms" if name in limits else ""
            median = statistics.median(taken)
            times_ours = ratio(times[first], taken)
            print(f"{name:10} {median:14.2f}  {1e3 / median:10.1f}  {times_ours:10.2f} x   {limit}")
        outcome[f"ms_{batch}"] = {n: statistics.median(t) for n, t in times.items()}
        outcome[f"products_ms_{batch}"] = limits
        if batch == BATCHES[0]:
            for name in [n for n in times if n not in rates]:
                outcome[f"ratio_{name}"] = ratio(times[first], times[name])
                outcome[f"float32_ratio_{name}"] = ratio(times["float32"], times[name])
    if arguments.json:
        print(json.dumps(outcome))


if __name__ == "__main__":
    main()

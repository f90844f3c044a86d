# SPDX-License-Identifier: MIT
"""How long a policy takes from observation to command, and whether it leaves memory behind.

The whole way of a control step but for the robot: actor in NumPy, action filter, leg space, limits.
Median and 99th percentile of CPU time over 20 000 steps after 1000 to warm up, and how much the
process's traced memory grows over the last half of them. The goal is a median of 150 us.

Run: python benchmarks/policy.py [--quick] [--json]; takes 10 s, with --quick 2.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import tracemalloc
from itertools import pairwise

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from walkhome.hardware.robot import Fault, MotorCommand, RobotState
from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.config.schema import RobotConfig
from walkhome.robot.control.actuator import ActionPath, Actuator
from walkhome.robot.mdp.observation import N_ACTIONS, observation_layout

MINITAUR = RobotConfig().to_body()


class Mirror:
    """A robot that takes every command and stands in the stance."""

    body = MINITAUR

    def command(self, command: MotorCommand) -> MotorCommand:
        """Take it."""
        return command


def state() -> RobotState:
    """A robot in the stance."""
    zeros = np.zeros(8)
    return RobotState(
        0.0,
        MINITAUR.stance_motor_rad(),
        zeros,
        zeros,
        zeros + 30.0,
        np.array([0.0, 0.0, 0.0, 1.0]),
        np.zeros(3),
        np.array([0.0, 0.0, 9.81]),
        16.0,
        Fault.NONE,
        0.0,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2000 steps")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    steps = 2000 if arguments.quick else 20_000
    config = resolve_config().config
    size = observation_layout(config.control).size
    rng = np.random.default_rng(0)
    sizes = [size, *config.learning.hidden_sizes, 2 * N_ACTIONS]
    layers = [
        (rng.normal(0.0, 0.05, (b, a)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    ]
    policy = NumpyPolicy(layers, (-10.0, 2.0), np.zeros(0, np.float32))
    path = ActionPath(MINITAUR, config.control)
    actuator = Actuator(Mirror(), 1.0 / config.control.rate_hz, 0.1)  # type: ignore[arg-type]
    now = state()
    path.reset(now)
    actuator.reset(now)
    observations = rng.normal(size=(64, size))
    noise = rng.normal(size=(64, N_ACTIONS))

    def step(i: int) -> None:
        action = policy.act(observations[i % 64], deterministic=False, noise=noise[i % 64])
        actuator.send(path.target(action), now)

    for i in range(1000):
        step(i)
    times = np.empty(steps)
    for i in range(steps):
        begin = time.process_time_ns()
        step(i)
        times[i] = time.process_time_ns() - begin
    tracemalloc.start()
    for i in range(steps // 4):
        step(i)
    before = tracemalloc.get_traced_memory()[0]
    for i in range(steps // 4):
        step(i)
    grown = tracemalloc.get_traced_memory()[0] - before
    median, late = np.percentile(times, [50.0, 99.0]) / 1e3
    print(f"observation to command: median {median:.0f} us, 99th percentile {late:.0f} us")
    print(f"memory after {steps // 4} more steps: {grown:+d} bytes; load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        print(json.dumps({"median_us": median, "p99_us": late, "grown_bytes": grown}))


if __name__ == "__main__":
    main()

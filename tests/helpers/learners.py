# SPDX-License-Identifier: MIT
"""For tests of learner processes: random experience, and whether a process runs."""

import os
import time
from pathlib import Path

from walkhome.learning.transition import Transition

ROOT = Path(__file__).parents[2]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def episode(learners, rng, steps, task="forward", at_step=None):
    """Give an episode of random transitions to several learners, as the trainer does."""
    for _ in range(steps):
        step = Transition(
            rng.standard_normal(126),
            rng.uniform(-1.0, 1.0, 8),
            rng.standard_normal(2),
            rng.uniform(0.0, 3.0, 2),
            rng.standard_normal(126),
            bool(rng.random() < 0.1),
            task,
        )
        for learner in learners:
            learner.add(step)
            learner.update(2)
        if at_step is not None:
            at_step()
    costs = rng.uniform(2.0, 3.0, 2)  # above the budget of 1
    for learner in learners:
        learner.end_episode(task, costs)


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, timeout_s=30.0):
    """Wait until the condition holds; fail after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)

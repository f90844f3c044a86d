# SPDX-License-Identifier: MIT
"""One step of experience, as every learner takes it.

    control loop, journal, benchmarks --> Transition --> replay, or shared-memory ring

The arrays may be of any floating type; who stores them converts and checks them. Nothing here
copies: the arrays are the caller's, and a learner copies what it keeps before `add` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Transition:
    """One control step: what was seen, what was done, what it earned and cost.

    Attributes:
        observation: (O,) before the action; scaled as the policy reads it, no unit.
        action: (A,) in [-1, 1].
        rewards: (n_tasks,) reward that this step would have earned in each task, in the order of
            the learner's tasks.
        costs: (K,) cost of this step under each constraint, in units of that constraint's budget.
        next_observation: (O,) after the action.
        done: True if the episode terminated (a fall), False if it goes on or was truncated; only
            a termination stops the bootstrap.
        task: Name of the task whose policy acted.
    """

    observation: FloatArray
    action: FloatArray
    rewards: FloatArray
    costs: FloatArray
    next_observation: FloatArray
    done: bool
    task: str

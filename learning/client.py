# SPDX-License-Identifier: MIT
"""What the control loop sees of a learner, be it in its own process (`Learner`) or in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import ArrayLike

from walkhome.learning.policy import NumpyPolicy
from walkhome.learning.transition import Transition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LearnerStatus:
    """How a learner that nobody waits for keeps up.

    Attributes:
        wanted_steps: gradient steps asked for so far.
        gradient_steps: of them, those in the weights in use.
        behind_steps: transitions that the weights in use have not seen.
        behind_s: age of the weights in use.
        dropped: transitions that never reached the learner.
        restarts: how often its process was started again.
    """

    wanted_steps: int
    gradient_steps: int
    behind_steps: int
    behind_s: float
    dropped: int
    restarts: int


class LearnerClient(Protocol):
    """Learns several tasks from one stream of transitions."""

    @property
    def gradient_steps(self) -> int:
        """Updates in the newest weights that are known here."""

    @property
    def slow_because(self) -> str:
        """Why it learns by autograd though the fast way was asked for, or ""."""

    def add(self, transition: Transition) -> None:
        """Store one transition.

        Raises:
            ValueError: Its task is unknown, or a number has the wrong size or is not finite.
        """

    def update(self, n_updates: int) -> int:
        """Ask for gradient steps, tasks in turn; how many of them are done already."""

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Move the task's multipliers by the (K,) mean costs per step."""

    def refresh(self) -> None:
        """Bring the policies to the weights that the next step is to act on."""

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy; the same object for the learner's life, its weights move."""

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) the task's multipliers, as of the weights in use."""

    def metrics(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Per task: alpha, lambda, q_mean, ..., as of the weights in use."""

    def status(self) -> LearnerStatus | None:
        """How it keeps up; None where it can't be otherwise."""

    def notices(self) -> list[str]:
        """What happened to it since the last call, for people."""

    def drain(self) -> None:
        """Wait until all that it was told is done (a free one: heard); use its weights."""

    def forget(self) -> None:
        """Forget all transitions."""

    def finite(self) -> bool:
        """Whether every number that acts or learns is finite."""

    def state_dict(self) -> Mapping[str, Any]:
        """`tensors` and `scalars`: all that evolves but the replay."""

    def load_state_dict(self, state: Any) -> None:
        """Go on from `state_dict`; ValueError if it does not fit, and nothing has changed then."""

    def close(self) -> None:
        """Give back what it holds."""

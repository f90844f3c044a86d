# SPDX-License-Identifier: MIT
"""The interface between the control loop and a learner, in this process or in another.

    control loop --add, update, end_episode--> LearnerClient --policy, multipliers, metrics--> loop

Implemented by `learner.Learner` (same process), `remote.pipelined.PipelinedLearner` and
`remote.asynchronous.AsynchronousLearner`.
"""

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
    """Lag of an asynchronous learner.

    Attributes:
        wanted_steps: Gradient steps asked for so far.
        gradient_steps: Gradient steps that the weights in use have had.
        behind_steps: Transitions that the weights in use have not seen.
        behind_s: Age of the weights in use, s.
        dropped: Transitions that never reached the learner.
        restarts: Restarts of its process.
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
        """Gradient steps, over all tasks, that the weights in use have had."""

    @property
    def slow_because(self) -> str:
        """Why the plain backend runs although the fast one was configured, or ""."""

    def add(self, transition: Transition) -> None:
        """Store one transition of experience.

        Raises:
            ValueError: Its task is unknown, or a number has the wrong size or is not finite.
        """

    def update(self, n_updates: int) -> int:
        """Ask for `n_updates` gradient steps, one task after the other.

        Returns:
            How many are done already: all of them, or 0 for a learner in another process.
        """

    def end_episode(self, task: str, mean_costs: ArrayLike) -> None:
        """Update the task's multipliers with the (K,) mean costs per step of its episode."""

    def refresh(self) -> None:
        """Switch the policies to the weights that the next control step acts on.

        Raises:
            LearnerLost: The learner's process is lost (learners in another process).
            FloatingPointError: The learner diverged (likewise).
        """

    def policy(self, task: str) -> NumpyPolicy:
        """The task's policy: always the same object, whose weights change in place."""

    def multipliers(self, task: str) -> NDArray[np.float64]:
        """(K,) multipliers of the task, as of the weights in use."""

    def metrics(self) -> Mapping[str, Mapping[str, float | list[float]]]:
        """Per task: alpha, lambda, q_mean, ..., as of the weights in use."""

    def status(self) -> LearnerStatus | None:
        """Lag of the learner; None if it has no lag, or a fixed one."""

    def notices(self) -> list[str]:
        """Messages for the operator since the last call."""

    def drain(self) -> None:
        """Wait until everything asked for is done (asynchronous: received); use its weights."""

    def forget(self) -> None:
        """Empty the replay; weights and multipliers stay."""

    def finite(self) -> bool:
        """True if every number that acts or learns is finite."""

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that evolves except the replay: `tensors` by name, and `scalars` for JSON."""

    def load_state_dict(self, state: Any) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: It does not fit; nothing has changed then.
        """

    def close(self) -> None:
        """End processes and free shared memory, if there are any; safe to call twice."""

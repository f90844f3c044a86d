# SPDX-License-Identifier: MIT
"""Exploration: the learned policies with noise that is correlated in time, random at first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.learning.client import LearnerClient
from walkhome.learning.noise import coloured_noise
from walkhome.learning.policy import NumpyPolicy, PolicyInvalid
from walkhome.robot.config.sections import LearningConfig
from walkhome.robot.mdp.observation import N_ACTIONS
from walkhome.safety.command.limits import UnsafeCommand

FloatArray = npt.NDArray[np.float64]


class Exploration:
    """Chooses actions during learning.

    Args:
        learning: colour of the noise and number of random steps.
        learner: brings newer weights.
        policies: by task; their weights change as the learner learns.
        rng: its own stream, so that the noise does not depend on how the learner draws.
        steps: number of control steps of the run so far.
    """

    def __init__(
        self,
        learning: LearningConfig,
        learner: LearnerClient,
        policies: Mapping[str, NumpyPolicy],
        rng: np.random.Generator,
        steps: Callable[[], int],
    ) -> None:
        self._learning, self._learner = learning, learner
        self.policies, self._rng, self._steps = policies, rng, steps
        self._task = ""
        self._noise, self._index = np.zeros((0, N_ACTIONS)), 0

    def begin(self, task: str, length: int) -> None:
        """Draw the noise of one roll-out of at most `length` steps."""
        self._task, self._index = task, 0
        self._noise = coloured_noise(self._rng, length, N_ACTIONS, self._learning.exploration_beta)

    def __call__(self, observation: FloatArray) -> FloatArray:
        """The action (8,) in [-1, 1] for an observation (n,).

        Raises:
            UnsafeCommand: the policy's weights or its action are not finite.
        """
        noise = self._noise[self._index]
        self._index += 1
        if self._steps() < self._learning.random_steps:
            return np.asarray(np.tanh(noise), dtype=np.float64)
        self._learner.refresh()
        try:
            return self.policies[self._task].act(observation, deterministic=False, noise=noise)
        except PolicyInvalid as error:
            raise UnsafeCommand(str(error)) from None

    def state_dict(self) -> dict[str, Any]:
        """State of the noise generator, in types that JSON has."""
        return self._rng.bit_generator.state  # type: ignore[return-value]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._rng.bit_generator.state = state

# SPDX-License-Identifier: MIT
"""The learned gaits, blended into each other as the driver changes the task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import N_LEGS
from walkhome.learning.policy import NumpyPolicy, PolicyInvalid
from walkhome.robot.config.sections import OPPOSITE
from walkhome.robot.mdp.observation import N_ACTIONS
from walkhome.robot.teleop.blend import Blend, mean_action
from walkhome.safety.command.limits import UnsafeCommand

FloatArray = npt.NDArray[np.float64]

STAND = "stand"
"""Name of the gait that is no gait: the neutral posture."""


class Gaits:
    """Computes actions from several policies.

    Args:
        policies: by task.
        blend_s: time of a hand-over; between opposite gaits, by way of standing, it takes two.
        period_s: control period.
    """

    def __init__(
        self, policies: Mapping[str, NumpyPolicy], blend_s: float, period_s: float
    ) -> None:
        self._policies = dict(policies)
        self._largest_change = period_s / blend_s
        self._blend = Blend([STAND, *self._policies], STAND, blend_s, period_s, OPPOSITE)
        self._stride = 1.0

    def __contains__(self, task: str) -> bool:
        """Whether the gait was learned; standing always is."""
        return task == STAND or task in self._policies

    def reset(self, stride: float) -> None:
        """Start from standing, with a share of the learned stride."""
        self._blend.reset(STAND)
        self._stride = stride

    def action(self, task: str, stride: float, observation: FloatArray) -> FloatArray:
        """The next action (8,) in [-1, 1]; advances the hand-over by one period.

        Args:
            task: the gait to hand over to.
            stride: share of the learned swing to approach; extensions stay as learned.
            observation: (n,) newest observation.

        Raises:
            UnsafeCommand: a policy's weights are not finite.
        """
        weights = self._blend.step(task)
        try:
            actions = {
                name: np.zeros(N_ACTIONS)
                if name == STAND
                else self._policies[name].act(observation, deterministic=True)
                for name in weights
            }
        except PolicyInvalid as error:
            raise UnsafeCommand(str(error)) from None
        action = mean_action(weights, actions)
        # A smaller stride is a smaller swing; legs are lifted as high as ever. The stride changes
        # as slowly as gaits do.
        limit = self._largest_change
        self._stride += min(limit, max(-limit, stride - self._stride))
        action[:N_LEGS] *= self._stride
        return action

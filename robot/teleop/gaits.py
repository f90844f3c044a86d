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
"""Name of standing: action zero, the neutral posture."""


class Gaits:
    """Computes actions from several policies, with a smooth hand-over between them.

    Args:
        policies: one policy per task name.
        blend_s: time of a hand-over, s; twice that between opposite gaits, which goes by standing.
        period_s: control period, s.

    Raises:
        ValueError: a time is not positive.
    """

    def __init__(
        self, policies: Mapping[str, NumpyPolicy], blend_s: float, period_s: float
    ) -> None:
        self._policies = dict(policies)
        self._largest_change = period_s / blend_s
        self._blend = Blend([STAND, *self._policies], STAND, blend_s, period_s, OPPOSITE)
        self._stride = 1.0

    def __contains__(self, task: str) -> bool:
        """Whether the gait is available: standing, or a learned task."""
        return task == STAND or task in self._policies

    def reset(self, stride: float) -> None:
        """Start from standing, with this share of the learned stride, in (0, 1]."""
        self._blend.reset(STAND)
        self._stride = stride

    def action(self, task: str, stride: float, observation: FloatArray) -> FloatArray:
        """Compute the next action, and advance the hand-over by one period.

        Args:
            task: name of the gait to hand over to, as in `in`.
            stride: share of the learned swing to approach, in (0, 1]; extensions stay as learned.
            observation: (n,) newest observation (`robot.mdp.observation`).

        Returns:
            (8,) action in [-1, 1]: four swings, then four extensions.

        Raises:
            KeyError: there is no such gait.
            UnsafeCommand: a policy's action is not finite.
            ValueError: the observation is not finite or has another size than the policy's.
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
        # A smaller stride is a smaller swing; the legs are still lifted as high as learned. The
        # stride changes no faster than the gaits are blended.
        limit = self._largest_change
        self._stride += min(limit, max(-limit, stride - self._stride))
        action[:N_LEGS] *= self._stride
        return action

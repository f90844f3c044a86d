# SPDX-License-Identifier: MIT
"""Hand-over between gaits: every policy has a weight, and weights change at a limited rate.

The action is the weighted mean of the policies' actions for the same observation. Weights are never
negative and sum to 1, so the mean of actions in [-1, 1] stays in [-1, 1], also when the driver
changes the task during a hand-over. The action filter and the observation history continue.

A gait was learned from standing starts; after a direct switch from the opposite gait the robot
falls far more often (docs/driving.md). So between opposite gaits the robot stands first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from walkhome.robot.mdp.observation import N_ACTIONS

FloatArray = npt.NDArray[np.float64]

_NOTHING = 1e-9  # a smaller weight counts as zero


class Blend:
    """Weights over a fixed set of names.

    Args:
        names: what can be blended.
        rest: the name that has the whole weight at first, and between opposites.
        duration_s: time of a whole hand-over from any weights, s; twice that between opposites.
        period_s: time between two steps, s.
        opposite: the opposite of each name that has one; it need not be among `names`.

    Raises:
        ValueError: `rest` is not among `names`, or a time is not positive.
    """

    def __init__(
        self,
        names: Iterable[str],
        rest: str,
        duration_s: float,
        period_s: float,
        opposite: Mapping[str, str],
    ) -> None:
        self._weights = dict.fromkeys(names, 0.0)
        if rest not in self._weights or not (duration_s > 0.0 and period_s > 0.0):
            raise ValueError(f"can't blend {list(self._weights)} from {rest!r} in {duration_s} s")
        self._step = min(1.0, period_s / duration_s)
        self._rest, self._opposite = rest, dict(opposite)
        self.reset(rest)

    def reset(self, name: str) -> None:
        """Give one of the names the whole weight at once."""
        for other in self._weights:
            self._weights[other] = float(other == name)

    def step(self, target: str) -> Mapping[str, float]:
        """Move the weights one period toward `target`.

        Returns:
            The weights above zero, by name; they sum to 1.

        Raises:
            KeyError: `target` is not among the names.
        """
        other_way = self._opposite.get(target)
        if other_way is not None and self._weights.get(other_way, 0.0) > _NOTHING:
            target = self._rest
        before = self._weights[target]
        after = min(1.0, before + self._step)
        # The others lose in proportion to their weights what the target gains.
        share = (1.0 - after) / (1.0 - before) if before < 1.0 else 0.0
        for name in self._weights:
            self._weights[name] *= share
        self._weights[target] = after
        return {name: weight for name, weight in self._weights.items() if weight > _NOTHING}


def mean_action(weights: Mapping[str, float], actions: Mapping[str, FloatArray]) -> FloatArray:
    """Return the weighted mean of actions, clipped to [-1, 1].

    Args:
        weights: one weight per name; they sum to 1.
        actions: one action (8,) per name, of at least the names in `weights`.

    Returns:
        (8,) action, in a new array.
    """
    total = np.zeros(N_ACTIONS)
    for name, weight in weights.items():
        total += weight * actions[name]
    # Rounding can exceed the range by the last bit.
    return np.clip(total, -1.0, 1.0)

# SPDX-License-Identifier: MIT
"""Hand-over between gaits: every policy has a weight, and weights move at a limited rate.

The action is the weighted mean of what the policies with a weight ask for, all on the same
observation. Weights are never negative and sum to 1, so a mean of actions in [-1, 1] stays there,
however often the driver changes their mind half-way. Filter and history are not touched.

A gait has learned from standing starts; one that is handed a robot in full stride the other way
falls far more often (docs/driving.md). So between opposite gaits the robot stands first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_NOTHING = 1e-9  # a weight below counts as none


class Blend:
    """Weights over a fixed set of names.

    Args:
        names: of what can be blended.
        rest: which of them has the whole weight at first, and comes between opposites.
        duration_s: of a whole hand-over, from any weights; between opposites it takes two.
        period_s: of a step.
        opposite: of each name that has one; it need not be among the names.

    Raises:
        ValueError: `rest` is no name, or a time is not positive.
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
        """Give one name the whole weight at once."""
        for other in self._weights:
            self._weights[other] = float(other == name)

    def step(self, target: str) -> Mapping[str, float]:
        """One period toward `target`; the weights above zero, which sum to 1.

        Raises:
            KeyError: there is no such name.
        """
        other_way = self._opposite.get(target)
        if other_way is not None and self._weights.get(other_way, 0.0) > _NOTHING:
            target = self._rest
        before = self._weights[target]
        after = min(1.0, before + self._step)
        # What the target gains, the others lose in proportion.
        share = (1.0 - after) / (1.0 - before) if before < 1.0 else 0.0
        for name in self._weights:
            self._weights[name] *= share
        self._weights[target] = after
        return {name: weight for name, weight in self._weights.items() if weight > _NOTHING}


def mean_action(weights: Mapping[str, float], actions: Mapping[str, FloatArray]) -> FloatArray:
    """(8,) weighted mean of actions, in [-1, 1] if they are."""
    total = np.zeros(8)
    for name, weight in weights.items():
        total += weight * actions[name]
    # Rounding may leave the range by the last bit.
    return np.clip(total, -1.0, 1.0)

# SPDX-License-Identifier: MIT
"""Mirror images of transitions, for data augmentation.

A reflection of the robot permutes its legs and flips some signs. If the body is symmetric, the
reflected transition is as valid as the recorded one, so a batch may contain either: several times
the experience at the cost of a permutation (Abdolhosseini et al. 2019, "On Learning Symmetric
Locomotion", method DUP). This module permutes arrays; the caller knows which entries change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class SignedPermutation:
    """The linear map y[i] = signs[i] * x[places[i]].

    Raises:
        ValueError: `places` is no permutation, or `signs` does not fit it.

    Attributes:
        places: (n,) each of 0..n-1 once.
        signs: (n,) each 1 or -1.
    """

    places: tuple[int, ...]
    signs: tuple[float, ...]

    def __post_init__(self) -> None:
        if sorted(self.places) != list(range(len(self.places))):
            raise ValueError(f"places must be a permutation, got {self.places}")
        if len(self.signs) != len(self.places) or any(abs(sign) != 1.0 for sign in self.signs):
            raise ValueError(f"signs must be {len(self.places)} times 1 or -1, got {self.signs}")

    @classmethod
    def identity(cls, size: int) -> SignedPermutation:
        """The map of `size` numbers that changes nothing."""
        return cls(tuple(range(size)), (1.0,) * size)

    @classmethod
    def joined(cls, parts: Sequence[SignedPermutation]) -> SignedPermutation:
        """The map of the parts' inputs, concatenated: each part acts on its own numbers."""
        places: list[int] = []
        signs: list[float] = []
        for part in parts:
            places += [place + len(signs) for place in part.places]
            signs += part.signs
        return cls(tuple(places), tuple(signs))

    def then(self, other: SignedPermutation) -> SignedPermutation:
        """The composition: this map first, then `other`."""
        return SignedPermutation(
            tuple(self.places[place] for place in other.places),
            tuple(
                sign * self.signs[place]
                for sign, place in zip(other.signs, other.places, strict=True)
            ),
        )

    def __call__(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Apply the map to the last axis of `x`, (..., n); returns a new array."""
        return x[..., list(self.places)] * np.asarray(self.signs, dtype=x.dtype)


@dataclass(frozen=True)
class Symmetry:
    """A reflection's effect on each part of a transition; costs and `done` do not change.

    Attributes:
        observation: Map of (O,).
        action: Map of (A,).
        rewards: Map of (n_tasks,): the mirror image of a step forward may be a step backward.
    """

    observation: SignedPermutation
    action: SignedPermutation
    rewards: SignedPermutation

# SPDX-License-Identifier: MIT
"""Mirror images of transitions: what a symmetric body would have seen in a mirrored world.

A reflection of the robot permutes its legs and flips some signs. If the body is symmetric, the
reflected transition is as true as the recorded one, so a batch may hold either: several times the
experience for the price of a permutation (Abdolhosseini et al. 2019, "On Learning Symmetric
Locomotion", their DUP). Here it is arrays only; which numbers change places is the caller's
knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class SignedPermutation:
    """y[i] = signs[i] * x[places[i]].

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
        """Changes nothing."""
        return cls(tuple(range(size)), (1.0,) * size)

    @classmethod
    def joined(cls, parts: Sequence[SignedPermutation]) -> SignedPermutation:
        """Parts side by side, each acting on its own numbers."""
        places: list[int] = []
        signs: list[float] = []
        for part in parts:
            places += [place + len(signs) for place in part.places]
            signs += part.signs
        return cls(tuple(places), tuple(signs))

    def then(self, other: SignedPermutation) -> SignedPermutation:
        """First this, then the other."""
        return SignedPermutation(
            tuple(self.places[place] for place in other.places),
            tuple(
                sign * self.signs[place]
                for sign, place in zip(other.signs, other.places, strict=True)
            ),
        )

    def __call__(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """(..., n) to a new (..., n)."""
        return x[..., list(self.places)] * np.asarray(self.signs, dtype=x.dtype)


@dataclass(frozen=True)
class Symmetry:
    """How a reflection acts on each part of a transition; costs and `done` stay as they are.

    Attributes:
        observation: on (O,).
        action: on (A,).
        rewards: on (n_tasks,): which task is earned in the mirror.
    """

    observation: SignedPermutation
    action: SignedPermutation
    rewards: SignedPermutation

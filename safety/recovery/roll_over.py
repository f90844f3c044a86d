# SPDX-License-Identifier: MIT
"""Scripts that bring a robot from its back or its side onto its belly, as data.

They were found by random search (from the side: by the cross-entropy method) in the twin and kept
for how many random starting postures they work from. Both legs of a side move alike. The robot's
left-right symmetry gives the mirror image of each for free.

On its back the legs of one side push against the floor until the body topples over the other edge.
On its side the legs can't push against the floor: their planes are parallel to it. There the turn
of 0.8 kg of legs tips the body off its narrow edge, onto its belly or its back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

VARIATION_RAD = 0.15
EXTENSION_RANGE_RAD = (0.35, 3.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """One posture to go to, legs of a side alike.

    Attributes:
        near: swing and extension, rad, of one side's legs; of the lower side if it lies on one.
        far: swing and extension, rad, of the other legs.
        duration_s: after which the next phase begins, reached or not.
    """

    near: tuple[float, float]
    far: tuple[float, float]
    duration_s: float

    def legs(self, near_is_left: bool) -> tuple[FloatArray, FloatArray]:
        """Swing and extension, (4,) rad each, in `hardware.body` order (left legs first)."""
        left, right = (self.near, self.far) if near_is_left else (self.far, self.near)
        both = np.array([left, left, right, right])
        return both[:, 0], both[:, 1]


@dataclass(frozen=True, slots=True)
class RollOver:
    """A script.

    Attributes:
        phases: one after the other.
        rate_rad_s: how fast the motor targets move.
    """

    phases: tuple[Phase, ...]
    rate_rad_s: float

    def varied(self, rng: np.random.Generator) -> RollOver:
        """A similar script, for another try."""
        return RollOver(tuple(_varied(phase, rng) for phase in self.phases), self.rate_rad_s)


def _varied(phase: Phase, rng: np.random.Generator) -> Phase:
    near_swing, near_extension, far_swing, far_extension = np.array(
        [*phase.near, *phase.far]
    ) + VARIATION_RAD * rng.normal(size=4)
    return Phase(
        (float(near_swing), float(np.clip(near_extension, *EXTENSION_RANGE_RAD))),
        (float(far_swing), float(np.clip(far_extension, *EXTENSION_RANGE_RAD))),
        phase.duration_s * float(rng.uniform(0.85, 1.25)),
    )


# The first one is the middle of a whole region of scripts that all work, on floor, mattress and
# doormat alike; the second is a different motion, for a robot that the first one does not help.
FROM_BACK = (
    RollOver(
        (
            Phase((-2.000, 2.850), (1.900, 1.500), 0.400),
            Phase((0.650, 1.950), (2.600, 0.550), 0.440),
            Phase((-0.600, 1.100), (3.100, 2.450), 0.300),
            Phase((0.000, 0.400), (1.571, 0.400), 0.500),
        ),
        60.0,
    ),
    RollOver(
        (
            Phase((-0.598, 2.789), (1.176, 2.115), 0.385),
            Phase((0.263, 1.562), (2.969, 1.844), 0.262),
            Phase((-2.554, 0.819), (3.037, 2.897), 0.101),
            Phase((1.571, 0.400), (0.000, 0.400), 0.500),
        ),
        40.0,
    ),
)

# The lower legs prop the body toward its back, so that it can't tip that way, while the upper ones
# swing over to the belly's side and drag it after them. Of the 58 twins
# it was searched with (24 on the floor, 24 on the mattress, 10 on the doormat) it brought 35 onto
# the belly and 23 onto the back.
FROM_SIDE = (
    RollOver(
        (
            Phase((3.24, 2.63), (3.06, 2.74), 0.36),
            Phase((1.66, 0.35), (0.20, 3.00), 0.44),
            Phase((2.92, 0.84), (-0.14, 2.49), 0.42),
            Phase((3.22, 0.89), (-1.00, 2.34), 0.45),
        ),
        43.6,
    ),
    RollOver(
        (
            Phase((1.41, 2.72), (0.10, 2.91), 0.45),
            Phase((3.02, 2.04), (2.22, 1.37), 0.28),
            Phase((2.00, 2.54), (2.98, 2.90), 0.39),
            Phase((-0.13, 0.90), (-0.54, 0.35), 0.48),
        ),
        41.5,
    ),
)

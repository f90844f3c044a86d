# SPDX-License-Identifier: MIT
"""Scripts that turn a robot from its back or its side onto its belly, as data.

Random search in the twin found them (for the side: the cross-entropy method), ranked by the number
of random starting postures from which they work. Both legs of a side move alike. The robot is
left-right symmetric, so each script has a mirror image.

On the back, the legs of one side push against the floor until the trunk topples over the other
edge. On a side, the legs can't push, as their planes are parallel to the floor; there the reaction
to swinging 0.8 kg of legs tips the trunk off its narrow edge, onto the belly or the back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

VARIATION_RAD = 0.15
EXTENSION_RANGE_RAD = (0.35, 3.0)


@dataclass(frozen=True, slots=True)
class RollOverStep:
    """One posture of a roll-over; both legs of a side have the same angles.

    Attributes:
        near: swing and extension, rad, of the near side's legs (the lower side, if the robot lies
            on a side).
        far: swing and extension, rad, of the other side's legs.
        duration_s: time after which the next step begins, whether the posture is reached or not.
    """

    near: tuple[float, float]
    far: tuple[float, float]
    duration_s: float

    def legs(self, near_is_left: bool) -> tuple[FloatArray, FloatArray]:
        """Swing and extension, (4,) rad each, in the order of `hardware.body` (left legs first)."""
        left, right = (self.near, self.far) if near_is_left else (self.far, self.near)
        both = np.array([left, left, right, right])
        return both[:, 0], both[:, 1]


@dataclass(frozen=True, slots=True)
class RollOver:
    """A script of postures.

    Attributes:
        phases: the postures, in order.
        rate_rad_s: speed of the motor targets.
    """

    phases: tuple[RollOverStep, ...]
    rate_rad_s: float

    def varied(self, rng: np.random.Generator) -> RollOver:
        """A copy with random variations of angles and durations, for a further attempt."""
        return RollOver(tuple(_varied(phase, rng) for phase in self.phases), self.rate_rad_s)


def _varied(phase: RollOverStep, rng: np.random.Generator) -> RollOverStep:
    near_swing, near_extension, far_swing, far_extension = np.array(
        [*phase.near, *phase.far]
    ) + VARIATION_RAD * rng.normal(size=4)
    return RollOverStep(
        (float(near_swing), float(np.clip(near_extension, *EXTENSION_RANGE_RAD))),
        (float(far_swing), float(np.clip(far_extension, *EXTENSION_RANGE_RAD))),
        phase.duration_s * float(rng.uniform(0.85, 1.25)),
    )


# The first script is the centre of a region of scripts that all work, on floor, mattress and
# doormat; the second is a different motion, for postures in which the first one fails.
FROM_BACK = (
    RollOver(
        (
            RollOverStep((-2.000, 2.850), (1.900, 1.500), 0.400),
            RollOverStep((0.650, 1.950), (2.600, 0.550), 0.440),
            RollOverStep((-0.600, 1.100), (3.100, 2.450), 0.300),
            RollOverStep((0.000, 0.400), (1.571, 0.400), 0.500),
        ),
        60.0,
    ),
    RollOver(
        (
            RollOverStep((-0.598, 2.789), (1.176, 2.115), 0.385),
            RollOverStep((0.263, 1.562), (2.969, 1.844), 0.262),
            RollOverStep((-2.554, 0.819), (3.037, 2.897), 0.101),
            RollOverStep((1.571, 0.400), (0.000, 0.400), 0.500),
        ),
        40.0,
    ),
)

# The lower legs support the trunk against tipping toward its back, while the upper legs swing to
# the belly's side and pull it along. In the 58 postures of the search (24 on the floor, 24 on the
# mattress, 10 on the doormat) it ended 35 times on the belly and 23 times on the back.
FROM_SIDE = (
    RollOver(
        (
            RollOverStep((3.24, 2.63), (3.06, 2.74), 0.36),
            RollOverStep((1.66, 0.35), (0.20, 3.00), 0.44),
            RollOverStep((2.92, 0.84), (-0.14, 2.49), 0.42),
            RollOverStep((3.22, 0.89), (-1.00, 2.34), 0.45),
        ),
        43.6,
    ),
    RollOver(
        (
            RollOverStep((1.41, 2.72), (0.10, 2.91), 0.45),
            RollOverStep((3.02, 2.04), (2.22, 1.37), 0.28),
            RollOverStep((2.00, 2.54), (2.98, 2.90), 0.39),
            RollOverStep((-0.13, 0.90), (-0.54, 0.35), 0.48),
        ),
        41.5,
    ),
)

# SPDX-License-Identifier: MIT
"""The Minitaur's mirror symmetries, left-right and front-back, of observations and actions.

A reflection flips the lateral (or the fore-aft) axis; angular velocities are pseudovectors and flip
about the other two axes. Each leg is exchanged with its mirror image. In the front-back mirror the
swing changes its sign. The two motors of a leg are exchanged, because m1 = e - s w and m2 = e + s w
(e extension, w swing, s = +-1 by side), and either s or w changes its sign.

The twin is symmetric but for its sensor noise. A real robot is nearly symmetric from left to right;
from front to back that depends on its load. `learning.symmetry` selects the reflections.
"""

from __future__ import annotations

from walkhome.learning.symmetry import SignedPermutation, Symmetry
from walkhome.robot.mdp.observation import ObservationLayout
from walkhome.robot.mdp.rewards import TASKS

# Image of each leg (front-left, back-left, front-right, back-right).
_SIDES = (2, 3, 0, 1)
_ENDS = (1, 0, 3, 2)


def symmetries(
    kind: str, layout: ObservationLayout, tasks: tuple[str, ...]
) -> tuple[Symmetry, ...]:
    """The reflections that the learner augments its batches with.

    Args:
        kind: `learning.symmetry`: "none", "sides" (left-right), or "full" (left-right, front-back,
            and both).
        layout: of the observations.
        tasks: names of the tasks, in the order of the rewards.

    Returns:
        One `Symmetry` per reflection; empty for "none".

    Raises:
        ValueError: `kind` is unknown.
    """
    if kind == "none":
        return ()
    if kind in ("sides", "full"):
        sides = _reflection(layout, tasks, fore_aft=False)
        if kind == "sides":
            return (sides,)
        ends = _reflection(layout, tasks, fore_aft=True)
        both = Symmetry(
            sides.observation.then(ends.observation),
            sides.action.then(ends.action),
            sides.rewards.then(ends.rewards),
        )
        return (sides, ends, both)
    raise ValueError(f"symmetry must be none, sides or full, got {kind!r}")


def _reflection(layout: ObservationLayout, tasks: tuple[str, ...], fore_aft: bool) -> Symmetry:
    legs = _ENDS if fore_aft else _SIDES
    swing = -1.0 if fore_aft else 1.0
    action = SignedPermutation((*legs, *(4 + leg for leg in legs)), (swing,) * 4 + (1.0,) * 4)
    motors = SignedPermutation(
        tuple(motor for leg in legs for motor in (2 * leg + 1, 2 * leg)), (1.0,) * 8
    )
    # roll, pitch, roll rate, pitch rate, yaw rate
    attitude = SignedPermutation(
        (0, 1, 2, 3, 4), (1.0, -1.0, 1.0, -1.0, -1.0) if fore_aft else (-1.0, 1.0, -1.0, 1.0, -1.0)
    )
    frame = SignedPermutation.joined([motors, attitude, action])
    return Symmetry(
        SignedPermutation.joined([frame] * layout.frames), action, _rewards(tasks, fore_aft)
    )


def _rewards(tasks: tuple[str, ...], fore_aft: bool) -> SignedPermutation:
    """A mirrored step earns for task k what the step itself earned for the mirror image of k."""

    def image(name: str) -> int:
        mirrored = TASKS[name].turns or fore_aft
        return tasks.index(TASKS[name].opposite if mirrored else name)

    return SignedPermutation(tuple(image(name) for name in tasks), (1.0,) * len(tasks))

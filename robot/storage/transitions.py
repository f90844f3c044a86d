# SPDX-License-Identifier: MIT
"""Rebuilds from the journal the transitions that a learner was given, bit for bit.

    journal records -> transitions -> learner (refill) or dataset (lerobot_export)

The journal holds one observation frame per step, and an observation is the last few frames, so any
history length can be rebuilt. It holds the features that rewards are linear in, so the rewards of
any task can be computed. A resumed run refills its replay buffer from here; the buffer is not saved
anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.learning.transition import Transition
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.costs import cost_scale, n_constraints
from walkhome.robot.mdp.observation import FRAME_SIZE
from walkhome.robot.mdp.rewards import reward_weights, rewards_of
from walkhome.robot.storage.journal import FLAG_FALL, FLAG_START, FLAG_STOP, PHASE_EPISODE

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecordedTransition(Transition):
    """A transition with its place in the journal.

    Its observations are (frames * 21,) and its action (8,), float32; its costs are in rad, not yet
    in units of the constraints' budgets.

    Attributes:
        index: index of its record in the journal.
    """

    index: int


def transitions(
    records: npt.NDArray[Any], config: Config, frames: int | None = None
) -> Iterator[RecordedTransition]:
    """Yield all transitions in a run's records, in order.

    After a missing record, the rest of its episode is left out, because the observations that
    contain the missing frame are unknown.

    Args:
        records: (n,) of `robot.storage.journal.RECORD`.
        config: the run's configuration, possibly with other weights of the reward.
        frames: number of frames in an observation; None for the configuration's.
    """
    n_frames = config.control.history_frames if frames is None else frames
    n_costs = n_constraints(config.constraint)
    weights = reward_weights(config.tasks, config.reward)
    past = np.zeros((n_frames, FRAME_SIZE), np.float32)
    expected = -1  # index of the next record of this episode; -1 while there is none
    for record in records[records["phase"] == PHASE_EPISODE]:
        index, flags = int(record["index"]), int(record["flags"])
        if flags & FLAG_START:
            past[:] = record["observation_frame"]
        elif index == expected:
            observation = past.reshape(-1).copy()
            past[:-1] = past[1:]
            past[-1] = record["observation_frame"]
            if not flags & FLAG_STOP:
                yield RecordedTransition(
                    observation,
                    record["action"],
                    rewards_of(record["features"], weights),
                    record["costs"][:n_costs],
                    past.reshape(-1).copy(),
                    bool(flags & FLAG_FALL),
                    config.tasks[int(record["task"])],
                    index,
                )
        else:
            index = -2
        expected = index + 1


def refill(add: Callable[[Transition], None], records: npt.NDArray[Any], config: Config) -> int:
    """Add all transitions of a journal to a learner, with costs in units of the budget.

    Args:
        add: `learning.learner.Learner.add`.
        records: (n,) of `robot.storage.journal.RECORD`.
        config: the run's configuration.

    Returns:
        The number of transitions.
    """
    count = 0
    for t in transitions(records, config):
        scale = cost_scale(config.constraint, config.learning.cost_discount, t.done)
        add(replace(t, costs=t.costs * scale))
        count += 1
    return count

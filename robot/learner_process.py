# SPDX-License-Identifier: MIT
"""Starts the learner of a run: in this process or in one of its own (design section 6).

`python -m robot.learner_process` is that process; only `learning.process` starts it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from learning.client import LearnerClient
from learning.process import ProcessSettings
from learning.ring import Sizes
from robot.config_schema import Config
from robot.learning_setup import N_ACTIONS, make_learner, n_constraints, observation_layout

if TYPE_CHECKING:
    from learning.learner import Learner

COMMAND = (sys.executable, "-m", "robot.learner_process")


def start_learner(config: Config) -> LearnerClient:
    """The learner that `learning.process` asks for.

    Raises:
        LearnerLost: its process could not be started.
        OSError: the system does not give what it needs.
    """
    if config.learning.process == "inline":
        return make_learner(config)
    from learning.remote import PipelinedLearner

    return PipelinedLearner(process_settings(config), config.tasks, config.learning.lag_steps)


def process_settings(config: Config) -> ProcessSettings:
    """How this run's learner process is run."""
    size = observation_layout(config).size
    sizes = Sizes(size, N_ACTIONS, len(config.tasks), n_constraints(config))
    return ProcessSettings(
        command=COMMAND,
        setup={"config": config.model_dump(mode="json")},
        sizes=sizes,
        threads=config.learning.torch_threads,
    )


def make(setup: dict[str, Any]) -> Learner:
    """A fresh learner from what `process_settings` sent."""
    return make_learner(Config.model_validate(setup["config"]))


if __name__ == "__main__":
    from learning.worker import main

    sys.exit(main(sys.argv[1:], make))

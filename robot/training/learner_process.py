# SPDX-License-Identifier: MIT
"""Starts the learner of a run, in this process or in one of its own.

`python -m walkhome.robot.training.learner_process` is the learner's process; only
`learning.remote.process` starts it. docs/processes.md shows which process does what.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from walkhome.learning.client import LearnerClient
from walkhome.learning.policy import policies_bytes
from walkhome.learning.remote.process import ProcessSettings
from walkhome.learning.remote.transition_ring import TransitionSizes
from walkhome.robot.config.schema import Config
from walkhome.robot.mdp.costs import n_constraints
from walkhome.robot.mdp.observation import N_ACTIONS, observation_layout
from walkhome.robot.storage.policies import policy_metadata
from walkhome.robot.training.learner_factory import make_learner

if TYPE_CHECKING:
    from walkhome.learning.learner import Learner
    from walkhome.learning.remote.worker import WorkerStart

COMMAND = (sys.executable, "-m", "walkhome.robot.training.learner_process")


def start_learner(config: Config, run: Path) -> LearnerClient:
    """Start the learner that `learning.process` asks for.

    Args:
        config: configuration of the run.
        run: the run folder; an asynchronous learner that is restarted continues from it.

    Raises:
        LearnerLost: the learner's process could not be started.
        OSError: the system refuses shared memory or a process.
    """
    if config.learning.process == "inline":
        return make_learner(config)
    settings = process_settings(config)
    if config.learning.process == "free":
        from walkhome.learning.remote.asynchronous import AsynchronousLearner

        return AsynchronousLearner(settings, config.tasks, {"run": str(run.resolve())})
    from walkhome.learning.remote.pipelined import PipelinedLearner

    return PipelinedLearner(
        share_out(settings, config.tasks, available_cores()),
        config.tasks,
        config.learning.lag_steps,
    )


def available_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_out(
    settings: ProcessSettings, tasks: Sequence[str], processes: int
) -> list[ProcessSettings]:
    """Settings of at most `processes` processes that share the tasks evenly."""
    n = min(processes, len(tasks))
    return [replace(settings, setup={**settings.setup, "mine": tasks[i::n]}) for i in range(n)]


def process_settings(config: Config) -> ProcessSettings:
    """Settings of one learner process with all tasks of the run."""
    size = observation_layout(config.control).size
    sizes = TransitionSizes(size, N_ACTIONS, len(config.tasks), n_constraints(config.constraint))
    return ProcessSettings(
        command=COMMAND,
        setup={"config": config.model_dump(mode="json")},
        sizes=sizes,
        threads=config.learning.torch_threads,
    )


# -- in the learner process ------------------------------------------------------------------------


def make(setup: dict[str, Any]) -> WorkerStart:
    """Build what a learner process starts with, from the set-up that it was sent."""
    from walkhome.learning.remote.worker import WorkerStart

    config = Config.model_validate(setup["config"])
    learner = make_learner(config)
    learner.learn_only(setup.get("mine", config.tasks))
    if "restore" not in setup:
        return WorkerStart(learner, save=partial(save, config))
    transitions = restore(learner, config, Path(setup["restore"]["run"]))
    return WorkerStart(
        learner, transitions, int(setup["restore"]["episodes_from"]), partial(save, config)
    )


def save(config: Config, learner: Learner, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Write a checkpoint of the learner with its policies.

    Args:
        config: configuration of the run.
        learner: the learner to save.
        wish: `run` (run folder), `records` (length of the journal), `scalars` (the trainer's state)
            and `best` (whether it is the best so far).

    Returns:
        `folder`, the name of the checkpoint, or `error` if the disk refused it.

    Raises:
        FloatingPointError: the learner has diverged; nothing was written.
    """
    from walkhome.robot.storage.checkpoints import diverged, save_checkpoint
    from walkhome.robot.storage.run_folder import RunFolder

    if not learner.finite():
        raise diverged(learner.gradient_steps)
    state = learner.state_dict()
    policies = {str(task): learner.policy(task) for task in config.tasks}
    scalars = {"learner": state["scalars"], **wish["scalars"]}
    try:
        folder = save_checkpoint(
            RunFolder.open(Path(wish["run"])),
            int(wish["records"]),
            state["tensors"],
            scalars,
            policies_bytes(policies, policy_metadata(config)),
            bool(wish["best"]),
        )
    except OSError as error:
        return {"error": str(error)}
    return {"folder": folder.name}


def restore(learner: Learner, config: Config, path: Path) -> int:
    """Load a run's newest checkpoint into a learner, and its journal into the replay.

    Reads only: the control process goes on writing.

    Returns:
        Number of transitions in the journal.

    Raises:
        CheckpointInvalid: there are checkpoints, but none can be used.
    """
    from walkhome.robot.storage.checkpoints import Checkpoint, Checkpoints
    from walkhome.robot.storage.journal import has_records, read_journal
    from walkhome.robot.storage.run_folder import RunFolder
    from walkhome.robot.storage.transitions import refill

    run = RunFolder.open(path)

    def use(checkpoint: Checkpoint) -> None:
        scalars = checkpoint.scalars["learner"]
        learner.load_state_dict({"tensors": checkpoint.tensors, "scalars": scalars})

    checkpoints = Checkpoints(run)
    if checkpoints.exist():  # without one, the run starts from its initial weights
        checkpoints.load(use, lambda text: None)
    if not has_records(run.journal):
        return 0
    records = read_journal(run.journal).records
    return refill(learner.add, records, config)


if __name__ == "__main__":
    from walkhome.learning.remote.worker import main

    sys.exit(main(sys.argv[1:], make))

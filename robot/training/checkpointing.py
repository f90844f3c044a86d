# SPDX-License-Identifier: MIT
"""Saves the learner and the trainer together, and resumes a run from what was saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from walkhome.hardware.realtime import SIDE_THREAD_PRIORITY, prioritise_side_thread
from walkhome.learning.client import LearnerClient
from walkhome.learning.policy import NumpyPolicy, policies_bytes
from walkhome.learning.remote.process import LearnerLost
from walkhome.robot.config.schema import Config
from walkhome.robot.monitor.view import View
from walkhome.robot.storage.checkpoints import Checkpoint, Checkpoints, diverged, save_checkpoint
from walkhome.robot.storage.journal import JournalError, has_records, read_journal
from walkhome.robot.storage.policies import policy_metadata
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.storage.transitions import refill


@runtime_checkable
class SavesItself(Protocol):
    """A learner whose own process writes its checkpoints."""

    def save(self, **wish: Any) -> dict[str, Any]:
        """Write a checkpoint; see `robot.training.learner_process.save`."""
        ...


@dataclass(frozen=True)
class _Outcome:
    """Result of saving.

    Attributes:
        records: length of the journal that the checkpoint belongs to.
        robot_s: robot time of the run.
        folder: name of the checkpoint; empty if it could not be saved.
        error: why it could not be saved.
    """

    records: int
    robot_s: float
    folder: str = ""
    error: Exception | None = None


class Checkpointing:
    """Saves and resumes one run.

    Args:
        run: the run folder.
        config: configuration of the run.
        learner: the learner; its replay is rebuilt from the journal, not saved.
        policies: by task; saved so that they can be run elsewhere.
        view: shows alarms about what can't be saved or used.
    """

    def __init__(
        self,
        run: RunFolder,
        config: Config,
        learner: LearnerClient,
        policies: Mapping[str, NumpyPolicy],
        view: View,
    ) -> None:
        self._run, self._config, self._view = run, config, view
        self._learner, self._policies = learner, policies
        self._checkpoints = Checkpoints(run)
        self._best_score = -math.inf
        self._saved_at = -1  # records when it was saved last
        self._executor = ThreadPoolExecutor(1, "checkpoint")
        self._job: Future[_Outcome] | None = None

    def is_new(self) -> bool:
        """Whether the run was killed before it had a checkpoint or a journal record."""
        return not self._checkpoints.exist() and not has_records(self._run.journal)

    def save(
        self,
        records: int,
        state: Mapping[str, Any],
        score: float,
        flush: Callable[[], None],
        wait: bool = True,
    ) -> None:
        """Save the learner and the trainer; a disk that refuses is reported and nothing is lost.

        Args:
            records: length of the journal now.
            state: state of the trainer.
            score: score of the policies; the best checkpoint is kept longer.
            flush: waits until the journal is on the disk; a checkpoint is useless without it.
            wait: wait until it is saved. Otherwise a thread has the learner's process save it, so
                that a standing robot does not wait; if the save before is still going on, nothing
                is saved this time. `settle` reports the result.

        Raises:
            FloatingPointError: the learner has diverged; nothing was saved.
            LearnerLost: the learner is gone, and is not one that is restarted.
        """
        if not self.settle(wait) or self._saved_at == records:
            return  # still being saved, or nothing has happened since
        best = score > self._best_score
        self._best_score = max(self._best_score, score)
        scalars = {"loop": dict(state), "best_score": self._best()}
        write = self._write if wait else self._write_by_learner
        job = partial(write, records, scalars, flush, best)
        if wait:
            self._report(job)
        else:
            self._job = self._executor.submit(job)

    def settle(self, wait: bool = True) -> bool:
        """Report the result of the last save.

        Args:
            wait: wait for a save that is going on.

        Returns:
            Whether no save is going on any more.

        Raises:
            FloatingPointError: the learner has diverged; nothing was saved.
            LearnerLost: the learner is gone, and is not one that is restarted.
        """
        if self._job is None:
            return True
        if not wait and not self._job.done():
            return False
        job, self._job = self._job, None
        self._report(job.result)
        return True

    def _report(self, outcome_of: Callable[[], _Outcome]) -> None:
        try:
            outcome = outcome_of()
        except LearnerLost as error:
            if self._config.learning.process != "free":
                raise
            self._view.message(f"ALARM: no checkpoint could be saved: {error}; the last one stays")
            return
        if outcome.error is not None:
            why = f"{outcome.error}; free the disk"
            self._view.message(f"ALARM: no checkpoint could be saved: {why}")
            return
        self._saved_at = outcome.records
        self._run.event("checkpoint", robot_s=outcome.robot_s, folder=outcome.folder)

    def _write(
        self,
        records: int,
        scalars: dict[str, Any],
        flush: Callable[[], None],
        best: bool,
    ) -> _Outcome:
        if not self._learner.finite():
            raise diverged(self._learner.gradient_steps)
        learner = self._learner.state_dict()
        robot_s = float(scalars["loop"]["robot_s"])
        scalars = {"learner": learner["scalars"], **scalars}
        try:
            flush()
            policy = policies_bytes(self._policies, policy_metadata(self._config))
            folder = save_checkpoint(self._run, records, learner["tensors"], scalars, policy, best)
        except (OSError, JournalError) as error:
            return _Outcome(records, robot_s, error=error)
        return _Outcome(records, robot_s, folder.name)

    def _write_by_learner(
        self,
        records: int,
        scalars: dict[str, Any],
        flush: Callable[[], None],
        best: bool,
    ) -> _Outcome:
        """Have the learner's own process write the checkpoint, while the robot walks."""
        assert isinstance(self._learner, SavesItself)
        prioritise_side_thread(SIDE_THREAD_PRIORITY)
        robot_s = float(scalars["loop"]["robot_s"])
        try:
            flush()
        except JournalError as error:
            return _Outcome(records, robot_s, error=error)
        answer = self._learner.save(
            run=str(self._run.path.resolve()), records=records, scalars=scalars, best=best
        )
        if "folder" not in answer:
            return _Outcome(records, robot_s, error=OSError(answer["error"]))
        return _Outcome(records, robot_s, answer["folder"])

    def resume(self, load_state: Callable[[Mapping[str, Any]], None]) -> int:
        """Resume from the newest checkpoint that can be used.

        Args:
            load_state: loads the trainer's state; raises ValueError or KeyError if it doesn't fit.

        Returns:
            Length of the journal that belongs to the checkpoint.

        Raises:
            CheckpointInvalid: no checkpoint can be used.
        """
        self._checkpoints.clean()
        journal = read_journal(self._run.journal).records

        def use(checkpoint: Checkpoint) -> None:
            scalars = checkpoint.scalars
            self._learner.load_state_dict(
                {"tensors": checkpoint.tensors, "scalars": scalars["learner"]}
            )
            load_state(scalars["loop"])
            count = int(scalars["loop"]["records"])
            records = journal[journal["index"] < count]
            if len(records) < count:
                self._view.message(
                    f"ALARM: {count - len(records)} records of the journal are damaged; the replay "
                    "goes on without the steps that need them"
                )
            self._learner.forget()
            refill(self._learner.add, records, self._config)

        checkpoint = self._checkpoints.load(use, lambda text: self._view.message(f"ALARM: {text}"))
        best = checkpoint.scalars["best_score"]
        self._best_score = -math.inf if best is None else float(best)
        state = checkpoint.scalars["loop"]
        self._saved_at = int(state["records"])
        again = int((journal["index"] >= self._saved_at).sum())
        self._view.message(
            f"resuming at {state['robot_s'] / 60.0:.2f} robot minutes"
            + (f"; {again} records after the checkpoint are made again" if again else "")
        )
        self._run.metric(resumed_at_s=state["robot_s"])
        self._run.event("resume", resumed_at_s=state["robot_s"], checkpoint=checkpoint.path.name)
        return self._saved_at

    def _best(self) -> float | None:
        return None if math.isinf(self._best_score) else self._best_score

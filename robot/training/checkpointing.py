# SPDX-License-Identifier: MIT
"""Keeps a run: saves the learner and the loop together, and goes on from what was saved."""

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
    """A learner whose process writes its checkpoints."""

    def save(self, **wish: Any) -> dict[str, Any]:
        """See `robot.training.learner_process.save`."""
        ...


@dataclass(frozen=True)
class _Outcome:
    """What came of saving.

    Attributes:
        records: length of the journal.
        robot_s: robot time.
        folder: name of the checkpoint; empty if there is none.
        error: why.
    """

    records: int
    robot_s: float
    folder: str = ""
    error: Exception | None = None


class Checkpointing:
    """Saves and resumes one run.

    Args:
        run: its folder.
        config: what it was configured with.
        learner: what learns; its replay is rebuilt from the journal.
        policies: what is saved for others to run, by task.
        view: told what can't be saved or used.
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
        """Whether the run was killed before it had anything: neither a checkpoint nor a record."""
        return not self._checkpoints.exist() and not has_records(self._run.journal)

    def save(
        self,
        records: int,
        state: Mapping[str, Any],
        score: float,
        flush: Callable[[], None],
        wait: bool = True,
    ) -> None:
        """Save everything; tells of a disk that doesn't take it, and lives with the last one.

        Args:
            records: length of the journal now.
            state: the loop's.
            score: of the policies; the best one is kept longer.
            flush: puts the journal on the disk; a checkpoint means nothing without it.
            wait: else a thread has the learner's process do it, because a robot waits for nobody;
                if the one before is still at it, nothing is saved this time. `settle` tells what
                came of it.

        Raises:
            FloatingPointError: the learner has diverged; nothing was saved.
        """
        if not self.settle(wait) or self._saved_at == records:
            return  # it is still being saved, or nothing has happened since
        best = score > self._best_score
        self._best_score = max(self._best_score, score)
        scalars = {"loop": dict(state), "best_score": self._best()}
        write = self._write if wait else self._have_written
        job = partial(write, records, scalars, flush, best)
        if wait:
            self._tell(job)
        else:
            self._job = self._executor.submit(job)

    def settle(self, wait: bool = True) -> bool:
        """Tell what came of the last save; whether none is under way.

        Raises:
            FloatingPointError: see `save`.
            LearnerLost: the learner is gone, and is not one that starts again.
        """
        if self._job is None:
            return True
        if not wait and not self._job.done():
            return False
        job, self._job = self._job, None
        self._tell(job.result)
        return True

    def _tell(self, outcome_of: Callable[[], _Outcome]) -> None:
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

    def _have_written(
        self,
        records: int,
        scalars: dict[str, Any],
        flush: Callable[[], None],
        best: bool,
    ) -> _Outcome:
        """The same by the learner's own process; here only little is done while the robot walks."""
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
        """Go on from the newest checkpoint that can be used.

        Args:
            load_state: takes the loop's state; raises ValueError or KeyError if it doesn't fit.

        Returns:
            Length of the journal that belongs to it.

        Raises:
            CheckpointInvalid: none can be used.
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
            + (f"; {again} records after the checkpoint come again" if again else "")
        )
        self._run.metric(resumed_at_s=state["robot_s"])
        self._run.event("resume", resumed_at_s=state["robot_s"], checkpoint=checkpoint.path.name)
        return self._saved_at

    def _best(self) -> float | None:
        return None if math.isinf(self._best_score) else self._best_score

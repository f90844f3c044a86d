# SPDX-License-Identifier: MIT
"""Keeps a run: saves the learner and the loop together, and goes on from what was saved."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from learning.learner import Learner
from learning.policy import NumpyPolicy, policies_bytes
from robot.checkpoints import Checkpoint, Checkpoints
from robot.config_schema import Config
from robot.experience import refill
from robot.files import write_bytes
from robot.journal import JournalError, has_records, read_journal
from robot.learning_setup import cost_scale, policy_metadata
from robot.run import RunFolder
from robot.view import View


class Keeper:
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
        learner: Learner,
        policies: Mapping[str, NumpyPolicy],
        view: View,
    ) -> None:
        self._run, self._config, self._view = run, config, view
        self._learner, self._policies = learner, policies
        self._checkpoints = Checkpoints(run)
        self._best_score = -math.inf
        self._saved_at = -1  # records when it was saved last
        self._writing: _Writing | None = None

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
            wait: else copy now and write in a thread, for a robot that can't wait for a disk;
                what came of it is told by the next call or by `settle`.

        Raises:
            FloatingPointError: the learner has diverged; nothing was saved.
        """
        self.settle()
        if self._saved_at == records:
            return  # nothing has happened since
        if not self._learner.finite():
            raise FloatingPointError(
                f"the learner diverged after {self._learner.gradient_steps} updates: a weight is "
                "not finite; nothing was saved over the last checkpoint. Lower "
                "learning.learning_rate"
            )
        best = score > self._best_score
        self._best_score = max(self._best_score, score)
        learner = self._learner.state_dict()
        scalars = {"learner": learner["scalars"], "loop": dict(state), "best_score": self._best()}
        policy = policies_bytes(self._policies, policy_metadata(self._config))

        def write() -> str:
            flush()
            files = {"policy.safetensors": policy}
            folder = self._checkpoints.save(records, learner["tensors"], scalars, files, best)
            write_bytes(self._run.path / "policy.safetensors", policy)
            return folder.name

        self._writing = _Writing(write, records, float(state["robot_s"]))
        if wait:
            self._writing.run()
            self.settle()
        else:
            self._writing.start()

    def settle(self) -> None:
        """Until the last checkpoint is on the disk; tells what came of it."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        if writing.is_alive():
            writing.join()
        if writing.error is not None:
            self._view.message(
                f"ALARM: no checkpoint could be saved: {writing.error}; free the disk"
            )
        else:
            self._saved_at = writing.records
            self._run.event("checkpoint", robot_s=writing.robot_s, folder=writing.folder)

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
            self._learner.replay.clear()
            refill(self._learner.add, records, self._config, cost_scale(self._config))

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


class _Writing(threading.Thread):
    """One checkpoint on its way to the disk; in a thread if started, else where it is run."""

    def __init__(self, write: Callable[[], str], records: int, robot_s: float) -> None:
        super().__init__(name="checkpoint")
        self.records, self.robot_s = records, robot_s
        self.folder = ""
        self.error: BaseException | None = None
        self._write = write

    def run(self) -> None:
        """Write it, and keep what came of it."""
        try:
            self.folder = self._write()
        except (OSError, JournalError) as error:
            self.error = error

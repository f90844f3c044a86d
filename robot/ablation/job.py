# SPDX-License-Identifier: MIT
"""The process of one run of a study: `python -m walkhome.robot.ablation.job`.

Both engines start this program, so that a run gives the same bytes on every machine. It reads the
run (`encode_order`) as one line of JSON from standard input, learns, evaluates, and writes the run
folder and evaluation.json. Standard input then stays open: when the parent process ends for any
reason, the pipe closes and this process stops.

A stopped run continues from its last checkpoint (`run.checkpoint_every_s` robot seconds). `robot
learn`, in contrast, saves when it is stopped; this ends the roll-out early and changes the rest of
the run. A study's results must not depend on when it was stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from walkhome.hardware.robot import RobotError
from walkhome.learning.checkpoint import CheckpointInvalid
from walkhome.learning.policy import PolicyInvalid
from walkhome.robot.ablation.study import Job
from walkhome.robot.config.resolve import ConfigError
from walkhome.robot.config.schema import Config
from walkhome.robot.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from walkhome.robot.monitor.status import RunStatus
from walkhome.robot.storage.atomic_files import write_json
from walkhome.robot.storage.journal import JournalError
from walkhome.robot.storage.run_folder import RunError, RunFolder

if TYPE_CHECKING:
    from walkhome.robot.training.trainer import StartLearner

EVALUATION = "evaluation.json"
PATIENCE_S = 60.0
"""Time to wait for the lock of a run: its previous process may still be stopping."""
LEARNED = ("done", "needs_help")
"""Final states of learning; `needs_help` (the robot could not stand up) is a result, not a failure.
"""


def encode_order(job: Job, out: Path) -> str:
    """Encode a run as the line of JSON that this program reads.

    Args:
        job: the run.
        out: path of the study's folder.
    """
    order = {
        "folder": str(out / job.folder),
        "config": job.config.model_dump(mode="json"),
        "evaluation": job.evaluation.model_dump(mode="json"),
    }
    return json.dumps(order) + "\n"


def is_finished(folder: Path) -> bool:
    """Return whether a run has finished learning and its evaluation is on disk."""
    return (folder / EVALUATION).is_file() and _status(folder) in LEARNED


def learned_minutes(folder: Path) -> float:
    """Return the robot minutes learned so far, from the end of metrics.jsonl; 0 without metrics."""
    try:
        with (folder / "metrics.jsonl").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 8192))
            lines = stream.read().split(b"\n")[:-1]
        newest = json.loads(lines[-1])
        return float(newest.get("robot_s", newest.get("resumed_at_s", 0.0))) / 60.0
    except (OSError, ValueError, IndexError):
        return 0.0


def _status(folder: Path) -> str:
    try:
        return str(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError):
        return ""


class _StopOnSignal:
    """Stops the process on SIGINT and SIGTERM; during learning, when `requested` is polled."""

    def __init__(self) -> None:
        self.wanted = False
        self.learning = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    @property
    def requested(self) -> bool:
        """Raise KeyboardInterrupt after a signal, so that nothing is saved; else False."""
        if self.wanted:
            raise KeyboardInterrupt
        return False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        if not self.learning:
            raise KeyboardInterrupt


class _LogView:
    """A view that only logs messages; the parent reads progress from the run's metrics."""

    def update(self, snapshot: RunStatus) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Write a line to the log."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - standard error is this run's log

    def close(self) -> None:
        """Do nothing; the log belongs to the parent."""


def perform(order: dict[str, Any], stop: _StopOnSignal, start: StartLearner | None = None) -> None:
    """Learn and evaluate a run, or the part of it that is not done yet.

    Args:
        order: the decoded order; see `encode_order`.
        stop: polled while learning.
        start: starts the learner; None: the default learner of `robot learn`.

    Raises:
        KeyboardInterrupt: a stop was requested.
        RunError: another process writes to the run, or its folder has another configuration.
        RobotError: the twin failed, or learning ended early.
        FloatingPointError: the learner diverged.
    """
    folder = Path(order["folder"])
    config = Config.model_validate(order["config"])
    if _status(folder) not in LEARNED or not (folder / "policy.safetensors").is_file():
        _learn(folder, config, stop, start)
    if not (folder / EVALUATION).is_file():
        from walkhome.robot.evaluation.evaluate import EvaluationPlan, evaluate

        evaluation = order["evaluation"]
        results = {}  # an empty tuple evaluates on the terrain of learning
        for terrains in ((), *((terrain,) for terrain in evaluation["terrains"])):
            plan = EvaluationPlan(
                terrains, episodes=evaluation["episodes"], seconds=evaluation["seconds"]
            )
            result = evaluate(folder, plan)
            del result["run"]  # results do not depend on the folder's path
            results[result["terrain"]] = result
        write_json(folder / EVALUATION, {"terrains": results})


def _learn(folder: Path, config: Config, stop: _StopOnSignal, start: StartLearner | None) -> None:
    from walkhome.robot.training.learner_process import start_learner
    from walkhome.robot.training.train import learn

    run, resume = _open(folder, config)
    start = start or start_learner
    with run:
        stop.learning = True
        try:
            summary = learn(config, run, _LogView(), stop, resume=resume, start=start)
        finally:
            stop.learning = False
    if summary["status"] not in LEARNED:
        raise RobotError(f"the run ended as {summary['status']!r}")


def _open(folder: Path, config: Config) -> tuple[RunFolder, bool]:
    """Create or reopen the run's folder; return it, and whether to resume."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        if not (folder / "config.yaml").is_file():
            # config.yaml is written last: without it, a killed process left an incomplete folder.
            shutil.rmtree(folder, ignore_errors=True)
            return RunFolder.create(folder, config, ["robot", "ablate"]), False
        try:
            run = RunFolder.resume(folder, argv=["robot", "ablate"])
        except RunError as error:
            if "writes to this run" not in str(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(0.5)
            continue
        if run.config != config:
            run.close()
            raise RunError(f"{folder}: the run there has another configuration")
        return run, True


def _read_order() -> dict[str, Any]:
    # Unbuffered: a thread blocked inside sys.stdin would make the interpreter's exit fail.
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            raise KeyboardInterrupt  # the parent process ended before it sent the order
        line += part
    return dict(json.loads(line))


def _exit_with_parent() -> None:
    """Send SIGTERM to this process when its parent ends and the pipe on standard input closes."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(start: StartLearner | None = None) -> int:
    """Read the order and perform it; print one line on standard error if it fails.

    Args:
        start: starts the learner; None: the default learner of `robot learn`.

    Returns:
        The exit code: 0, EXIT_FAILED or EXIT_INTERRUPTED.
    """
    stop = _StopOnSignal()
    try:
        order = _read_order()
        _exit_with_parent()
        perform(order, stop, start)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (
        RobotError,
        RunError,
        ConfigError,
        JournalError,
        CheckpointInvalid,
        PolicyInvalid,
        FloatingPointError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Runs the jobs of a study as processes of this machine, a limited number at a time.

An engine reports how each run ends; all other state is in the run folders on disk. Each child
process gets one thread, a session of its own (so that Ctrl-C in the terminal reaches only the
parent), and a pipe that closes when the parent dies (`robot.ablation.job`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.job import encode_order
from walkhome.robot.ablation.study import Job
from walkhome.robot.control.stop_request import StopRequest

POLL_S = 0.1
STOP_S = 30.0  # a child stops within a control period or a file write; after this it is killed

COMMAND = (sys.executable, "-m", "walkhome.robot.ablation.job")

STARTED, FINISHED, FAILED, STOPPED = "started", "finished", "failed", "stopped"


class EngineError(RuntimeError):
    """The engine cannot start; no run was started."""


class ProgressListener(Protocol):
    """Receives the state changes of the runs."""

    def change(self, job: Job, state: str, text: str = "") -> None:
        """A run started, finished, failed or was stopped."""
        ...

    def tick(self) -> None:
        """Called several times a second while runs are in progress."""
        ...


class Engine(Protocol):
    """Runs jobs; a context manager that holds the resources needed for it."""

    def __enter__(self) -> Engine:
        """Acquire the resources.

        Raises:
            EngineError: they are not available.
        """
        ...

    def __exit__(self, *_: object) -> None:
        """Release the resources."""
        ...

    def run(
        self,
        folder: StudyFolder,
        jobs: Sequence[Job],
        stop: StopRequest,
        listener: ProgressListener,
    ) -> None:
        """Run jobs until all have ended or a stop is requested.

        Args:
            folder: the study's open folder; results are written there.
            jobs: runs that are not finished.
            stop: polled; when it is requested, running jobs are stopped.
            listener: receives every state change, and ticks.
        """
        ...


def available_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def child_environment() -> dict[str, str]:
    """Environment of a child process: one thread, and an import path to the parent's code."""
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
    )
    # Not resolved: in a checkout, walkhome/ has symbolic links, and the parent of walkhome/ is
    # needed, not that of the links' targets.
    root = str(Path(__file__).parents[3])
    # An installed package is found without this; site-packages must not precede the standard
    # library.
    installed = root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    path = [] if installed else [root]
    path += filter(None, [os.environ.get("PYTHONPATH")])
    return {**os.environ, **threads, **({"PYTHONPATH": os.pathsep.join(path)} if path else {})}


@contextlib.contextmanager
def run_process(
    order: str, log: Path, command: Sequence[str] = COMMAND
) -> Iterator[subprocess.Popen[str]]:
    """Start a run's process as a context manager that yields it.

    Leaving the context asks the process to stop and waits for it; after `STOP_S` seconds it is
    killed.

    Args:
        order: the run, encoded by `robot.ablation.job.encode_order`.
        log: file to which the process's standard output and error are appended.
        command: command line of `robot.ablation.job`, or of a program that reads the same order.

    Raises:
        OSError: the process does not start, or the log cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603 - the caller's program, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            text=True,
            env=child_environment(),
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it exited at once; its exit code tells why
            process.stdin.write(order)
            process.stdin.flush()
        yield process
    finally:
        close_lifeline(process)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def close_lifeline(process: subprocess.Popen[str]) -> None:
    """Close a child's standard input, which asks it to stop; does not wait for it."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def failure_reason(code: int, log: Path) -> str:
    """Return in one line why a run's process failed: its signal, or the last line of its log.

    Args:
        code: exit code; negative for a signal.
        log: log file of the process.
    """
    if code < 0:
        return f"killed by signal {-code}; see {log}"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = [line for line in lines if line.strip()]
    last = said[-1].removeprefix("error: ") if said else "it printed nothing"
    return f"{last[:300]} (exit code {code})"


class LocalEngine:
    """Runs jobs as processes of this machine.

    Args:
        at_once: maximum number of simultaneous runs.
        command_of: returns the command line of a job's process; see `run_process`.
    """

    def __init__(
        self, at_once: int, command_of: Callable[[Job], Sequence[str]] = lambda job: COMMAND
    ) -> None:
        self._at_once, self._command_of = at_once, command_of

    def __enter__(self) -> LocalEngine:
        """Return the engine; it needs no resources."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing; there are no resources to release."""

    def run(
        self,
        folder: StudyFolder,
        jobs: Sequence[Job],
        stop: StopRequest,
        listener: ProgressListener,
    ) -> None:
        """Run the jobs on this machine; see `Engine.run`."""
        waiting = list(jobs)
        with contextlib.ExitStack() as children:
            running: dict[Job, tuple[subprocess.Popen[str], contextlib.ExitStack]] = {}
            while (waiting or running) and not stop.requested:
                while waiting and len(running) < self._at_once:
                    job = waiting.pop(0)
                    own = children.enter_context(contextlib.ExitStack())
                    order = encode_order(job, folder.path.absolute())
                    started = run_process(order, folder.log_of(job), self._command_of(job))
                    running[job] = (own.enter_context(started), own)
                    listener.change(job, STARTED)
                for job, (process, own) in list(running.items()):
                    code = process.poll()
                    if code is not None:
                        own.close()
                        del running[job]
                        record_end(folder, job, code, listener)
                listener.tick()
                time.sleep(POLL_S)
            for process, _ in running.values():
                close_lifeline(process)  # first all; leaving the context waits for each
            for job in running:
                listener.change(job, STOPPED)


def record_end(folder: StudyFolder, job: Job, code: int, listener: ProgressListener) -> None:
    """Report how a run's process ended, and store a failure in the study's folder."""
    if code == 0 and folder.finished(job):
        listener.change(job, FINISHED)
        return
    text = failure_reason(code, folder.log_of(job)) if code else "its process left no result"
    folder.note_failure(job, text)
    listener.change(job, FAILED, text)

# SPDX-License-Identifier: MIT
"""Shows the progress of a study: progress bars on a terminal, plain or JSON lines otherwise."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from walkhome.robot.ablation.engine import FAILED, FINISHED, STARTED, STOPPED
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.job import learned_minutes
from walkhome.robot.ablation.study import Job
from walkhome.robot.monitor.status import format_duration

LOOK_S = 1.0  # seconds between two readings of the runs' metrics
LINE_S = 30.0  # seconds between lines when standard output is no terminal
EVALUATION_MINUTES = 0.6
"""Robot minutes of learning that take as long as an evaluation (2 tasks, 5 roll-outs of 10 s)."""
WALL_PER_MINUTE = 1.2
"""Wall minutes per robot minute and core while no run is finished; from benchmarks/learn.py."""


def estimated_wall_s(folder: StudyFolder, jobs: Sequence[Job], at_once: int) -> float:
    """Estimate the wall time (s) that jobs take, from the pace of the study's finished runs.

    Args:
        folder: folder of the study.
        jobs: runs that are not finished.
        at_once: number of runs at a time.
    """
    paces = [_pace(folder.run_of(job)) for job in folder.jobs if folder.finished(job)]
    known = [pace for pace in paces if pace > 0.0]
    pace = sum(known) / len(known) if known else WALL_PER_MINUTE
    minutes = [remaining_minutes(folder, job) for job in jobs]
    if not minutes:
        return 0.0
    return 60.0 * pace * max(sum(minutes) / max(1, at_once), max(minutes))


def _pace(run: Path) -> float:
    """Wall minutes per robot minute of a finished run; 0 if its summary cannot be read."""
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        return float(summary["wall_seconds"] / 60.0 / summary["robot_minutes"]["total"])
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return 0.0


def remaining_minutes(folder: StudyFolder, job: Job) -> float:
    """Return the robot minutes that a run has left, plus `EVALUATION_MINUTES` for evaluation."""
    path = folder.run_of(job)
    learning = max(0.0, job.config.run.minutes - learned_minutes(path))
    return learning + EVALUATION_MINUTES


class ProgressView:
    """Shows the progress of the runs; a `robot.ablation.engine.ProgressListener`.

    Args:
        folder: folder of the study.
        jobs: runs that are not finished.
        as_json: print one JSON object per line instead of text or bars.
        now_s: monotonic clock, seconds.

    Attributes:
        counts: number of runs per final state, `FINISHED` and `FAILED`.
    """

    def __init__(
        self,
        folder: StudyFolder,
        jobs: Sequence[Job],
        as_json: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._jobs, self._json, self._now_s = folder, list(jobs), as_json, now_s
        self._running: dict[Job, TaskID | None] = {}
        self._ended: set[Job] = set()
        self._left_at_start = sum(remaining_minutes(folder, job) for job in jobs)
        self._start_s = now_s()
        self._next_look_s = self._next_line_s = 0.0
        live = not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._bars = _bars() if live else None
        self._total: TaskID | None = None
        self.counts = {FINISHED: 0, FAILED: 0}

    def __enter__(self) -> ProgressView:
        """Start the progress bars, if there are any."""
        if self._bars is not None:
            self._bars.start()
            self._total = self._bars.add_task("all", total=self._left_at_start, note="")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the progress bars and restore the terminal."""
        if self._bars is not None:
            self._bars.stop()

    def change(self, job: Job, state: str, text: str = "") -> None:
        """Show that a run started or ended."""
        if state == STARTED:
            bar = None
            if self._bars is not None:
                bar = self._bars.add_task(job.name, total=job.config.run.minutes, note="")
            self._running[job] = bar
        else:
            bar = self._running.pop(job, None)
            if self._bars is not None and bar is not None:
                self._bars.remove_task(bar)
            if state in self.counts:
                self.counts[state] += 1
                self._ended.add(job)
        self._say(job, state, text)

    def tick(self) -> None:
        """Read the progress of the running runs, at most every `LOOK_S` seconds, and show it."""
        now_s = self._now_s()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_S
        if self._bars is not None and self._total is not None:
            for job, bar in self._running.items():
                if bar is not None:
                    minutes = learned_minutes(self._folder.run_of(job))
                    note = f"{minutes:.1f} of {job.config.run.minutes:g} min"
                    if minutes >= job.config.run.minutes:
                        note = "evaluating"
                    self._bars.update(bar, completed=minutes, note=note)
            done = self._left_at_start - self._left()
            self._bars.update(self._total, completed=done, note=self._where())
        elif now_s >= self._next_line_s:
            self._next_line_s = now_s + LINE_S
            self._line({"event": "progress", "text": self._where()})

    def _left(self) -> float:
        return sum(remaining_minutes(self._folder, j) for j in self._jobs if j not in self._ended)

    def _where(self) -> str:
        left, spent_s = self._left(), self._now_s() - self._start_s
        done = self._left_at_start - left
        text = f"{len(self._ended)} of {len(self._jobs)} runs"
        if done > 0.05 and spent_s > 5.0:
            text += f", about {format_duration(left / done * spent_s)} left"
        return text

    def _say(self, job: Job, state: str, text: str) -> None:
        if self._bars is not None:
            if state in (FAILED, STOPPED):
                self._bars.console.print(f"{job.name}: {state} {text}".rstrip(), style="red")
            return
        self._line({"event": state, "run": job.name, "text": text})

    def _line(self, fields: dict[str, str]) -> None:
        if self._json:
            line = json.dumps(fields)
        else:
            head = " ".join(filter(None, [fields.get("run"), fields["event"]]))
            line = f"{head}: {fields['text']}" if fields["text"] else head
        try:
            print(line, flush=True)  # noqa: T201 - a view
        except BrokenPipeError:  # standard output was closed; the study continues
            self._next_line_s = float("inf")


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        console=Console(),
        refresh_per_second=4,
    )

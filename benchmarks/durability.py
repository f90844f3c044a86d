# SPDX-License-Identifier: MIT
"""Kills `robot learn` at random moments, resumes it, and compares it with a run that nobody killed.

Every round is a real process that gets SIGKILL at a random moment, start-up included; the next one
resumes. When a run is done it must equal, bit by bit, the run of the same seed that was never
killed: journal, weights, multipliers, counters. What a kill costs is measured as the time between
the appending of the first record that is not on the disk and the kill.

Also prints what journalling costs per control step and how long a checkpoint of the default
networks takes. 200 kills take about 15 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from walkhome.learning.checkpoint import load
from walkhome.robot.cli.app import app
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.monitor.view import PlainView
from walkhome.robot.storage.journal import JournalError, read_journal
from walkhome.robot.storage.journal_writer import JournalWriter
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_factory import make_learner
from walkhome.robot.training.recorder import Recorder
from walkhome.robot.training.trainer import Trainer

SMALL = (
    "learning.batch_size=16",
    "learning.hidden_sizes=[16, 16]",
    "learning.random_steps=40",
    "learning.updates_per_step=1",
    "episode.length_s=0.6",
    "run.checkpoint_every_s=1.0",
)
MINUTES = 0.3
LONGEST_LIFE_S = 1.5
MAX_RECORDS = 20_000


def learn_in_child(arguments: list[str], appended: np.ndarray) -> int:
    """Fork (everything is imported already) and run the command; returns the process id."""
    child = os.fork()
    if child:
        return child
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    append = JournalWriter.append

    def timed(self: JournalWriter, **fields: object) -> None:
        append(self, **fields)  # type: ignore[arg-type]
        appended[self.written - 1] = time.monotonic()

    JournalWriter.append = timed  # type: ignore[method-assign]
    code = 1
    try:
        app(["learn", *arguments])
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    finally:
        os._exit(code)


def arguments_for(folder: Path, seed: int) -> list[str]:
    """The command line that starts, or resumes."""
    if (folder / "config.yaml").exists():
        return ["--resume", str(folder)]
    if folder.exists():
        shutil.rmtree(folder)  # killed before there was a run
    sets = [argument for pair in SMALL for argument in ("--set", pair)]
    return ["--run-dir", str(folder), "--minutes", str(MINUTES), "--seed", str(seed), *sets]


def wait(child: int) -> int:
    """Exit code of a child; negative for a signal."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def lost(folder: Path, appended: np.ndarray, killed_s: float) -> tuple[float, int]:
    """Wall seconds and records that a kill cost: appended, but not on the disk."""
    try:
        records = read_journal(folder / "journal").records
    except JournalError:
        return 0.0, 0  # killed before the first one
    on_disk = int(records["index"][-1]) + 1 if len(records) else 0
    waiting = appended[on_disk:][appended[on_disk:] > 0.0]
    return (killed_s - float(waiting[0]), len(waiting)) if len(waiting) else (0.0, 0)


def same(one: Path, other: Path) -> bool:
    """Whether two finished runs are equal: journal, newest checkpoint, policy."""
    journals = [read_journal(folder / "journal").records for folder in (one, other)]
    ends = []
    for folder in (one, other):
        tensors, scalars = load(folder / "checkpoints" / (folder / "latest").read_text().strip())
        scalars["loop"].pop("spent")
        ends.append(({k: v.tobytes() for k, v in tensors.items()}, scalars))
    policies = [(folder / "policy.safetensors").read_bytes() for folder in (one, other)]
    return bool(np.array_equal(*journals) and ends[0] == ends[1] and policies[0] == policies[1])


def shared_times() -> np.ndarray:
    """(MAX_RECORDS,) float64 zeros that a child shares."""
    return np.frombuffer(mmap.mmap(-1, 8 * MAX_RECORDS), np.float64)


def kill_rounds(kills: int, seed: int, out: Path) -> dict[str, object]:
    """Kill, resume, compare, until there were so many kills."""
    rng, appended = random.Random(seed), shared_times()
    done = unloadable = unequal = finished = records_lost = 0
    longest_s, run_seed = 0.0, seed
    while done < kills:
        reference, folder = out / f"whole-{run_seed}", out / f"killed-{run_seed}"
        if wait(learn_in_child(arguments_for(reference, run_seed), shared_times())):
            raise RuntimeError(f"the run that nobody kills failed; see {reference}")
        code = None
        while code != 0 and done < kills:
            child = learn_in_child(arguments_for(folder, run_seed), appended)
            # One in four dies while it starts; the others have begun to record.
            starting = rng.random() < 0.25
            deadline_s = time.monotonic() + rng.uniform(0.0, 1.5) if starting else math.inf
            while time.monotonic() < deadline_s:
                if deadline_s == math.inf and appended.any():
                    deadline_s = time.monotonic() + rng.uniform(0.0, LONGEST_LIFE_S)
                finished_child, status = os.waitpid(child, os.WNOHANG)
                if finished_child:
                    code = os.waitstatus_to_exitcode(status)
                    break
                time.sleep(0.002)
            else:
                os.kill(child, signal.SIGKILL)
                killed_s, code = time.monotonic(), wait(child)
                done += 1
                seconds, records = lost(folder, appended, killed_s)
                longest_s, records_lost = max(longest_s, seconds), max(records_lost, records)
            if code == -signal.SIGKILL and is_done(folder):
                code = 0  # killed between its last line and its end
            if code not in (0, -signal.SIGKILL):
                unloadable += 1
                break
            appended[:] = 0.0
        if code == -signal.SIGKILL:  # enough killed: the last one may live
            code = wait(learn_in_child(arguments_for(folder, run_seed), appended))
        if code == 0:
            finished += 1
            unequal += not same(reference, folder)
            shutil.rmtree(folder)
        shutil.rmtree(reference)
        run_seed += 1
        print(f"  {done} kills, {finished} runs finished, {unloadable} unloadable", flush=True)
    return {
        "kills": done,
        "unloadable": unloadable,
        "finished_runs": finished,
        "unequal_runs": unequal,
        "lost_s_max": longest_s,
        "lost_records_max": records_lost,
    }


def is_done(folder: Path) -> bool:
    """Whether the run has written that it is done."""
    summary = folder / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "done"


def costs(out: Path) -> dict[str, float]:
    """Median cost of a journal record, and of a checkpoint of the default networks."""
    config = resolve_config(overrides=["run.minutes=0.3", "run.checkpoint_every_s=3.0"]).config
    steps: list[float] = []
    saves: list[float] = []
    with (
        RunFolder.create(out / "costs", config) as run,
        timed(Recorder, "record", steps),
        timed(Trainer, "_save", saves),
    ):
        with open(os.devnull, "w") as sink:
            view, stop = PlainView(sink), argparse.Namespace(requested=False)
            Trainer(config, run, view, stop, make_twin(config, 0)).run()
        size = sum(path.stat().st_size for path in next(run.checkpoints.iterdir()).iterdir())
    return {
        "journal_step_us": 1e6 * float(np.median(steps)),
        "checkpoint_ms": 1e3 * float(np.median(saves)),
        "checkpoint_mb": size / 1e6,
    }


@contextlib.contextmanager
def timed(owner: type, name: str, into: list[float]) -> Iterator[None]:
    """Measures every call of a method."""
    call = getattr(owner, name)

    def timer(self: object, *arguments: object, **named: object) -> None:
        begin_s = time.perf_counter()
        call(self, *arguments, **named)
        into.append(time.perf_counter() - begin_s)

    setattr(owner, name, timer)
    try:
        yield
    finally:
        setattr(owner, name, call)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the runs")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--quick", action="store_true", help="8 kills")
    arguments = parser.parse_args()
    begin_s = time.monotonic()
    make_learner(resolve_config(overrides=[*SMALL]).config)  # what is imported late, before forking
    with tempfile.TemporaryDirectory(prefix="walkhome-") as folder:
        result = kill_rounds(
            8 if arguments.quick else arguments.kills, arguments.seed, Path(folder)
        )
        result |= costs(Path(folder))
    print(f"  kills                      {result['kills']}")
    print(f"  could not be resumed       {result['unloadable']}")
    print(f"  finished, and unequal      {result['finished_runs']}, {result['unequal_runs']}")
    print(f"  lost at most               {result['lost_s_max']:.2f} s of wall time,", end=" ")
    print(f"{result['lost_records_max']} records (which came again on resume)")
    print(f"  journalling a step         {result['journal_step_us']:.0f} us")
    print(f"  a checkpoint               {result['checkpoint_ms']:.0f} ms,", end=" ")
    print(f"{result['checkpoint_mb']:.1f} MB")
    print(f"  wall                       {time.monotonic() - begin_s:.0f} s")
    if arguments.json:
        print(json.dumps(result))
    if result["unloadable"] or result["unequal_runs"]:
        sys.exit(1)


if __name__ == "__main__":
    main()

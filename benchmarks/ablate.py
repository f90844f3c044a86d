# SPDX-License-Identifier: MIT
"""What does the engine of `robot ablate` cost, and how much faster are two runs at once?

The goals: two jobs on two cores finish >= 1.8 times as fast as one after the other; the engine
costs <= 3 % beside the runs themselves. Takes about 6 minutes on an idle machine with two cores
(`--quick`: one or two; it shows that the benchmark runs). Whatever else the machine does spoils the
figures: its load is printed with them.

    by hand     the runs' processes, started one after the other by nobody's engine
    one         `robot ablate --jobs 1`'s engine
    two         `robot ablate --jobs 2`'s engine

Processor times are measured apart, because a busy machine changes them less: the engine's own, and
the runs' when they are two at once, against one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from walkhome.robot.ablation.engine import LocalEngine, run_process
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.job import encode_order
from walkhome.robot.ablation.page import write_page
from walkhome.robot.ablation.study import load_study


class Nobody:
    """Wishes nothing, watches nothing."""

    requested = False

    def change(self, job: object, state: str, text: str = "") -> None:
        """Fail loudly: a failed run would be a fast one."""
        if state == "failed":
            raise RuntimeError(f"{job}: {text}")

    def tick(self) -> None:
        """Nothing."""


def folder_of(place: Path, minutes: float) -> StudyFolder:
    """A study of two runs that are as long as one another."""
    study = load_study("reset", seeds=2, minutes=minutes)
    study.configs.pop("teleport")
    return StudyFolder(place, study)


def by_hand(folder: StudyFolder) -> float:
    """Wall seconds of the runs' processes, one after the other."""
    begin_s = time.monotonic()
    for job in folder.jobs:
        with run_process(encode_order(job, folder.path.absolute()), folder.log_of(job)) as process:
            if process.wait():
                raise RuntimeError(f"{job.name} failed; see {folder.log_of(job)}")
    return time.monotonic() - begin_s


def by_engine(folder: StudyFolder, at_once: int) -> tuple[float, float, float]:
    """Wall seconds of the engine, its own processor seconds, and those of the runs."""
    begin_s, own_s, runs_s = time.monotonic(), *processor_s()
    with folder:
        LocalEngine(at_once).run(folder, folder.jobs, Nobody(), Nobody())
    own_end_s, runs_end_s = processor_s()
    return time.monotonic() - begin_s, own_end_s - own_s, runs_end_s - runs_s


def processor_s() -> tuple[float, float]:
    """Seconds so far: this process, and its children that have ended."""
    mine, theirs = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return mine.ru_utime + mine.ru_stime, theirs.ru_utime + theirs.ru_stime


def measure(minutes: float, rounds: int) -> dict[str, object]:
    """All three ways, in turn, so that a busy spell hits each of them."""
    hand, one, two, own, page, runs = [], [], [], [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            hand.append(by_hand(folder_of(root / "hand", minutes)))
            wall_s, own_s, apart_s = by_engine(folder_of(root / "one", minutes), 1)
            one.append(wall_s)
            own.append(own_s)
            last = folder_of(root / "two", minutes)
            wall_s, _, together_s = by_engine(last, 2)
            two.append(wall_s)
            runs.append(together_s / apart_s)
            begin_s = time.monotonic()
            write_page(last)
            page.append(time.monotonic() - begin_s)
    middle = statistics.median
    return {
        "benchmark": "ablate",
        "robot_minutes": minutes,
        "runs": 2,
        "rounds": rounds,
        "by_hand_s": hand,
        "one_s": one,
        "two_s": two,
        "two_jobs_times_as_fast": middle(a / b for a, b in zip(one, two, strict=True)),
        "overhead_wall": middle(a / b for a, b in zip(one, hand, strict=True)) - 1.0,
        "overhead_processor": middle(a / b for a, b in zip(own, one, strict=True)),
        "runs_processor_two_over_one": middle(runs),
        "page_s": middle(page),
        "load_average": os.getloadavg()[1],
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.5, help="robot minutes of a run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(0.1 if options.quick else options.minutes, options.rounds)
    print(f"two jobs at once: {result['two_jobs_times_as_fast']:.2f} times as fast (goal 1.8)")
    print(
        f"the engine's overhead: {result['overhead_wall']:+.1%} of the wall time, "
        f"{result['overhead_processor']:.1%} of processor time (goal 3 %)"
    )
    print(
        f"together the runs take {result['runs_processor_two_over_one']:.2f} times the processor "
        "time that they take alone"
    )
    print(f"the page takes {result['page_s']:.1f} s, once")
    print(f"load average {result['load_average']:.1f} on {result['cores']} cores")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

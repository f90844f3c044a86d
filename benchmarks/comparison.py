# SPDX-License-Identifier: MIT
"""`benchmarks/learn.py --compare`: ways of learning to walk, compared under equal conditions.

The variants are those of configs/ablations/methods.yaml, CrossQ's critics (`crossq_job`) and
Stable-Baselines3's SAC (`sb3_job`), all in the same loop. Runs, statistics and figures are those of
`robot ablate` (docs/ablations.md), and so is the folder: the same command again continues where it
stopped, and a finished run is kept.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from walkhome.robot.ablation.conclusion import conclude
from walkhome.robot.ablation.engine import COMMAND, LocalEngine
from walkhome.robot.ablation.figures import learning_curves
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.metrics import WALK_M_S
from walkhome.robot.ablation.page import write_page
from walkhome.robot.ablation.results import Results
from walkhome.robot.ablation.statistics import Estimate, estimate
from walkhome.robot.ablation.study import Job, load_study
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.config.resolve import ConfigError
from walkhome.robot.storage.run_folder import RunError

METHODS = Path(__file__).resolve().parents[1] / "configs" / "ablations" / "methods.yaml"

# Stable-Baselines3's own defaults, with what our loop reads of them: white noise, random actions
# for the first 100 steps of each of the two agents, no experience of the other task, no constraint.
SB3 = {
    "learning": {
        "learning_rate": 3e-4,
        "temperature_learning_rate": 3e-4,
        "batch_size": 256,
        "discount": 0.99,
        "tau": 0.005,
        "initial_temperature": 1.0,
        "layer_norm": False,
        "relabel": False,
        "symmetry": "none",
        "exploration_beta": 0.0,
        "random_steps": 200,
        "updates_per_step": 1,
    },
    "constraint": {"kind": "off"},
}
SB3_VARIANTS = {
    "sb3": SB3,
    "sb3-updates-2": {**SB3, "learning": {**SB3["learning"], "updates_per_step": 2}},
}
# By autograd, as there is no compiled update; batch normalisation in place of layer normalisation.
CROSSQ_VARIANTS = {"crossq": {"learning": {"backend": "plain", "layer_norm": False}}}
JOBS = dict.fromkeys(CROSSQ_VARIANTS, "crossq_job.py") | dict.fromkeys(SB3_VARIANTS, "sb3_job.py")
"""The programs, beside this file, that run the variants that `robot ablate` does not know."""
QUICK_MINUTES = 0.3


class Printer:
    """Says how the runs get on."""

    def __init__(self, total: int) -> None:
        self._left, self._begin_s = total, time.monotonic()
        self.failed: list[str] = []

    def change(self, job: Job, state: str, text: str = "") -> None:
        """A run started, finished, failed or was stopped."""
        if state == "failed":
            self.failed.append(job.name)
        self._left -= state in ("finished", "failed")
        minutes = (time.monotonic() - self._begin_s) / 60.0
        print(
            f"{minutes:7.1f} min  {job.name} {state}{': ' if text else ''}{text}"
            + (f", {self._left} left" if state != "started" else ""),
            file=sys.stderr,
            flush=True,
        )

    def tick(self) -> None:
        """Nothing."""


def study_folder(out: Path, seeds: int, minutes: float | None, quick: bool) -> StudyFolder:
    """The study's folder, checked; only its definition is written.

    Raises:
        ConfigError: something in the study can't be used.
        RunError: the folder is of something else.
    """
    value: dict[str, Any] = yaml.safe_load(METHODS.read_text(encoding="utf-8"))
    value["variants"] |= CROSSQ_VARIANTS | SB3_VARIANTS
    if quick:
        value["evaluate"] = {"episodes": 1, "seconds": 2.0}
    out.mkdir(parents=True, exist_ok=True)
    path = out / "comparison.yaml"
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")  # which is YAML
    study = load_study(str(path), seeds, minutes, claims=seeds > 1)
    folder = StudyFolder(out / "study", study)
    folder.check()
    return folder


def command_of(job: Job) -> Sequence[str]:
    """What starts a run's process."""
    if job.variant in JOBS:
        return (sys.executable, str(Path(__file__).with_name(JOBS[job.variant])))
    return COMMAND


def run(folder: StudyFolder, variants: Sequence[str], at_once: int) -> list[str]:
    """Make the runs of these variants that are not there yet; the names of those that failed."""
    jobs = [job for job in folder.jobs if job.variant in variants and not folder.finished(job)]
    listener = Printer(len(jobs))
    print(f"{folder.path}: {len(jobs)} runs to do, {at_once} at once", file=sys.stderr)
    with StopSignal() as stop, folder:
        folder.forget_failures()
        for job in jobs:
            if job.variant in SB3_VARIANTS:  # it can't resume
                shutil.rmtree(folder.run_of(job), ignore_errors=True)
        LocalEngine(at_once, command_of).run(folder, jobs, stop, listener)
        if stop.requested:
            raise KeyboardInterrupt
    return listener.failed


def table(results: Results) -> str:
    """One row a variant, in Markdown: interquartile means with bootstrap intervals over seeds."""
    lines = [
        "| variant | runs | walked | robot minutes to 0.3 m/s, both ways | speed, m/s "
        "| falls in the run | processor minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in results.study.configs:
        runs = results.runs_with_metrics(variant)
        if not runs:
            continue
        walked = sum(r.metrics["minutes_to_walk"] < results.study.file.minutes for r in runs)
        falls = [r.metrics["falls"] * r.metrics["robot_minutes"] for r in runs]
        cells = [
            f"`{variant}`",
            str(len(runs)),
            str(walked),
            _cell(results.estimate(variant, "minutes_to_walk"), ".1f"),
            _cell(results.estimate(variant, "speed"), ".2f"),
            _cell(estimate(np.round(falls)), ".0f"),
            _cell(results.estimate(variant, "cpu_minutes"), ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: Estimate, form: str) -> str:
    if not math.isfinite(value.value):
        return "-"
    text = f"{value.value:{form}}"
    return f"{text} ({value.low:{form}} to {value.high:{form}})" if value.has_interval else text


def report(folder: StudyFolder, out: Path) -> Results:
    """Write page, figure and table of all runs that are there; print the table and the answer."""
    page, results = write_page(folder)
    figure = learning_curves(results, folder)
    if figure is not None:
        figure.savefig(out / "learning_curves.png", dpi=150)
    text = table(results)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    print(
        f"\nInterquartile mean over seeds (95 % bootstrap interval). A run that never walks at "
        f"{WALK_M_S} m/s both ways counts with its whole length.\n{conclude(results)}\n{page}"
    )
    return results


def compare(
    variants: str | None,
    seeds: int,
    minutes: float | None,
    jobs: int,
    out: Path,
    quick: bool,
    as_json: bool,
) -> int:
    """Run, tell, and give the exit code: 0, 1 if a run failed, 2 for what can't be done."""
    if quick:
        seeds, minutes = 1, minutes or QUICK_MINUTES
    try:
        folder = study_folder(out, seeds, minutes, quick)
    except (ConfigError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    known = list(folder.study.configs)
    chosen = variants.split(",") if variants else known
    for name in chosen:
        if name not in known:
            print(f"error: --variants: {name!r} is none of {', '.join(known)}", file=sys.stderr)
            return 2
    try:
        failed = run(folder, chosen, jobs)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    results = report(folder, out)
    for name in failed:
        print(f"failed: {name}; see {folder.path / 'logs' / name}.log", file=sys.stderr)
    if as_json:
        print(json.dumps({"benchmark": "learn --compare", **results.to_plain_json()}))
    return 1 if failed else 0

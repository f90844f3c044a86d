# SPDX-License-Identifier: MIT
"""Results of a study: its runs, an estimate per variant and metric, and the comparisons.

Failed and unfinished runs stay in the list, and every number of a variant comes with the number
of runs behind it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.metric_names import METRICS
from walkhome.robot.ablation.metrics import curves_of, metrics_of, speed_on
from walkhome.robot.ablation.statistics import (
    Difference,
    Estimate,
    bootstrap_interval,
    estimate,
    interquartile_mean,
    paired_difference,
)
from walkhome.robot.ablation.study import Job, Study
from walkhome.robot.evaluation.intervals import CONFIDENCE
from walkhome.robot.report.run_data import RunData
from walkhome.robot.storage.atomic_files import dump
from walkhome.robot.storage.run_folder import RunError, RunFolder

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunResult:
    """State and measurements of one run.

    Attributes:
        job: variant, seed and configuration of the run.
        state: `finished`, `needs help` (finished early because the robot could not stand up),
            `failed`, `unfinished` or `not started`.
        why: reason of a failure or of `needs help`.
        metrics: metrics by name; empty unless the run is finished.
        curves: (n,) values per curve on the study's grid; empty unless the run is finished.
        speeds: mean speed (m/s) per evaluated terrain; empty unless the run is finished.
        provenance: contents of provenance.json; empty unless the run is finished.
    """

    job: Job
    state: str
    why: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, FloatArray] = field(default_factory=dict)
    speeds: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def has_metrics(self) -> bool:
        """True if the run is finished and has metrics."""
        return bool(self.metrics)


@dataclass(frozen=True)
class Curve:
    """A curve of one variant, aggregated over its runs.

    Attributes:
        minutes: (n,) robot minutes.
        value: (n,) interquartile mean over runs; NaN where a run has no value.
        low: (n,) lower end of the pointwise bootstrap interval.
        high: (n,) upper end of the interval.
        n: number of runs.
    """

    minutes: FloatArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    n: int


@dataclass(frozen=True)
class Results:
    """Results of all runs of a study, with estimates, comparisons and curves.

    Attributes:
        study: the study.
        runs: results of all runs, ordered by variant, then seed.
        grid: (n,) robot minutes of the curves; empty if no run is finished.
    """

    study: Study
    runs: list[RunResult]
    grid: FloatArray

    @classmethod
    def read(cls, folder: StudyFolder) -> Results:
        """Read the results of all runs from a study's folder.

        Raises:
            RunError: a file in the folder is damaged.
        """
        failures, minutes = folder.failures(), folder.study.file.minutes
        grid = np.zeros(0)
        runs = []
        for job in sorted(
            folder.jobs, key=lambda job: (list(folder.study.configs).index(job.variant), job.seed)
        ):
            result, at = _read_run(folder, job, failures, minutes)
            runs.append(result)
            grid = at if len(at) else grid
        return cls(folder.study, runs, grid)

    def runs_of(self, variant: str) -> list[RunResult]:
        """All runs of a variant, ordered by seed."""
        return [run for run in self.runs if run.job.variant == variant]

    def runs_with_metrics(self, variant: str) -> list[RunResult]:
        """Runs of a variant that have metrics, ordered by seed."""
        return [run for run in self.runs_of(variant) if run.has_metrics]

    def n_without_result(self, variant: str) -> int:
        """Number of a variant's runs without metrics."""
        return len(self.runs_of(variant)) - len(self.runs_with_metrics(variant))

    def n_without_metric(self, variant: str, metric: str) -> int:
        """Number of a variant's runs without this metric; survivorship bias if it is not 0."""
        return len(self.runs_of(variant)) - len(self.values(variant, metric))

    def values(self, variant: str, metric: str) -> FloatArray:
        """Return a metric of the variant's runs that have it, (n,) ordered by seed."""
        values = np.array([run.metrics[metric] for run in self.runs_with_metrics(variant)])
        return values[np.isfinite(values)] if len(values) else np.zeros(0)

    def estimate(self, variant: str, metric: str) -> Estimate:
        """Estimate a metric of a variant over its runs."""
        return estimate(self.values(variant, metric))

    @cached_property
    def comparisons(self) -> dict[tuple[str, str, str], Difference]:
        """Map (first, second, metric) to the difference first minus second, on common seeds."""
        return {
            (first, second, metric): self._compare(first, second, metric)
            for first, second in self.study.compared_pairs
            for metric in self.study.file.compare
        }

    def has_every_value(self, first: str, second: str, metric: str) -> bool:
        """True if every run of both variants has the metric, so that they may be compared."""
        return not (self.n_without_metric(first, metric) or self.n_without_metric(second, metric))

    def _compare(self, first: str, second: str, metric: str) -> Difference:
        def by_seed(name: str) -> dict[int, float]:
            values = {run.job.seed: run.metrics[metric] for run in self.runs_with_metrics(name)}
            return {seed: value for seed, value in values.items() if math.isfinite(value)}

        mine, theirs = by_seed(first), by_seed(second)
        both = sorted(mine.keys() & theirs.keys())
        return paired_difference(
            [mine[seed] for seed in both],
            [theirs[seed] for seed in both],
            self.study.n_comparisons,
        )

    def curve(self, variant: str, name: str) -> Curve:
        """Aggregate a curve of a variant over its runs.

        Args:
            variant: name of the variant.
            name: one of `CURVES`.
        """
        rows = [run.curves[name] for run in self.runs_with_metrics(variant)]
        empty = np.full(len(self.grid), np.nan)
        if not rows:
            return Curve(self.grid, empty, empty, empty, 0)
        table = np.array(rows)
        whole = np.isfinite(table).all(axis=0)
        value, low, high = empty.copy(), empty.copy(), empty.copy()
        if whole.any():
            value[whole] = interquartile_mean(table[:, whole], axis=0)
            low[whole], high[whole] = bootstrap_interval([table[:, whole]])
        return Curve(self.grid, value, low, high, len(rows))

    def to_plain_json(self) -> dict[str, Any]:
        """Return `to_json` as it reads back from a file: NaN and arrays as plain JSON values."""
        return dict(json.loads(dump(self.to_json())))

    def to_json(self) -> dict[str, Any]:
        """Return every run, estimate and comparison, as written to statistics.json."""
        study = self.study
        return {
            "study": study.name,
            "reference": study.reference,
            "confidence": CONFIDENCE,
            "runs": [
                {
                    "variant": run.job.variant,
                    "seed": run.job.seed,
                    "folder": run.job.folder,
                    "state": run.state,
                    "why": run.why,
                    "metrics": run.metrics,
                }
                for run in self.runs
            ],
            "estimates": {
                variant: {
                    metric: vars(self.estimate(variant, metric)) for metric in shown_metrics(study)
                }
                for variant in study.configs
            },
            "comparisons": [
                {
                    "first": first,
                    "second": second,
                    "metric": metric,
                    **{**vars(found), "improvement": vars(found.improvement)},
                }
                for (first, second, metric), found in self.comparisons.items()
            ],
        }


def shown_metrics(study: Study) -> list[str]:
    """Return the metrics that the study's page shows: compared ones first; by default all."""
    named = dict.fromkeys([*study.file.compare, *study.file.metrics])
    return list(named) or list(METRICS)


def _read_run(
    folder: StudyFolder, job: Job, failures: dict[str, str], minutes: float
) -> tuple[RunResult, FloatArray]:
    path, nothing = folder.run_of(job), np.zeros(0)
    if not folder.finished(job):
        if job.name in failures:
            return RunResult(job, "failed", failures[job.name]), nothing
        begun = (path / "config.yaml").is_file()
        return RunResult(job, "unfinished" if begun else "not started"), nothing
    data = RunData.read(RunFolder.open(path))
    source = path / "evaluation.json"
    try:
        evaluation = json.loads(source.read_text(encoding="utf-8"))
    except ValueError:
        raise RunError(f"{source}: not JSON; remove it, and the run is evaluated again") from None
    grid, curves = curves_of(data, minutes)
    needs_help = data.summary["status"] == "needs_help"
    result = RunResult(
        job,
        "needs help" if needs_help else "finished",
        f"could not stand up after {data.summary['robot_minutes']['total']:.1f} min"
        if needs_help
        else "",
        metrics_of(data, evaluation),
        curves,
        {name: speed_on(evaluation, name) for name in evaluation["terrains"]},
        data.provenance,
    )
    return result, grid

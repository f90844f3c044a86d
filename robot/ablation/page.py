# SPDX-License-Identifier: MIT
"""Writes the report of a study into its folder.

    study folder  ->  `Results`  ->  report/index.html, report/statistics.json, report/*.png

index.html embeds its figures and loads no other file. `publish` uses the same tables for the
Markdown version.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

from walkhome.robot.ablation.conclusion import conclude
from walkhome.robot.ablation.figures import FIGURES
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.metric_names import METRICS
from walkhome.robot.ablation.results import Results, shown_metrics
from walkhome.robot.ablation.statistics import MIN_PAIRS, Estimate
from walkhome.robot.ablation.study import Study, shipped
from walkhome.robot.config.resolve import leaves, resolve_config
from walkhome.robot.report.page import PNG_DPI, FigureOnPage, environment, svg_uri
from walkhome.robot.report.style import STYLE
from walkhome.robot.storage.atomic_files import write_json, write_text


@dataclass(frozen=True)
class Cell:
    """A cell of the table of metrics.

    Attributes:
        value: point estimate, or a dash.
        interval: its interval, or why there is none.
    """

    value: str
    interval: str


def write_page(folder: StudyFolder) -> tuple[Path, Results]:
    """Read the study's runs and write its report.

    Returns:
        The path of the page, and the results that it shows.

    Raises:
        RunError: a file of a run is damaged.
        OSError: the report cannot be written.
    """
    results = Results.read(folder)
    report = folder.path / "report"
    report.mkdir(exist_ok=True)
    write_json(report / "statistics.json", results.to_json())
    page = environment().get_template("ablation.html").render(**_context(results, folder))
    write_text(report / "index.html", page)
    return report / "index.html", results


def _context(results: Results, folder: StudyFolder) -> dict[str, Any]:
    study = results.study
    shown = shown_metrics(study)
    seeds = sorted({run.job.seed for run in results.runs})
    done = sum(run.has_metrics for run in results.runs)
    return {
        "name": study.name,
        "summary": (
            f"{len(study.configs)} variants, {len(seeds)} seeds, {study.file.minutes:g} robot "
            f"minutes each; {done} of {len(results.runs)} runs have a result"
        ),
        "question": study.file.question,
        "answer": conclude(results),
        "warnings": warnings(results),
        "notes": study.file.notes,
        "columns": [METRICS[metric].title for metric in shown],
        "rows": [_row(results, variant, shown) for variant in study.configs],
        "level": f"{100.0 - 5.0 / max(1, study.n_comparisons):.4g}",
        "comparisons": comparisons(results),
        "figures": _figures(results, folder),
        "meanings": [(METRICS[metric].title, METRICS[metric].meaning) for metric in shown],
        "differences": differences(study),
        "runs": [_run_row(run) for run in results.runs],
        "facts": facts(results),
    }


def format_number(value: float, form: str) -> str:
    """Format a number with a format specification, without "-0"; a dash stands for NaN."""
    if not math.isfinite(value):
        return "–"
    written = format(value, form)
    return written.removeprefix("-") if float(written) == 0.0 else written


def format_interval(found: Estimate, form: str) -> str:
    """Format the ends of an interval, or say why there is none."""
    if not found.n:
        return "no run"
    if not found.has_interval:
        return f"n = {found.n}"
    return f"{format_number(found.low, form)} to {format_number(found.high, form)}"


def cell_of(results: Results, variant: str, metric: str) -> Cell:
    """Format a variant's estimate of a metric; notes if only some of its runs have the metric."""
    found, form = results.estimate(variant, metric), METRICS[metric].form
    runs = len(results.runs_with_metrics(variant))
    if runs and not found.n:
        return Cell("–", "has none")
    few = f", n = {found.n}" if 0 < found.n < runs else ""
    return Cell(format_number(found.value, form), format_interval(found, form) + few)


def _row(results: Results, variant: str, shown: list[str]) -> dict[str, Any]:
    runs = results.runs_of(variant)
    failed = sum(run.state == "failed" for run in runs)
    cells = [cell_of(results, variant, metric) for metric in shown]
    return {
        "name": variant,
        "reference": variant == results.study.reference,
        "n": len(results.runs_with_metrics(variant)),
        "asked": len(runs),
        "failed": failed,
        "missing": results.n_without_result(variant) - failed,
        "helped": sum(run.state == "needs help" for run in runs),
        "cells": cells,
    }


def comparisons(results: Results) -> list[list[str]]:
    """Format the rows of the table of comparisons.

    Returns:
        Per comparison the texts: variant, other variant, metric, mean difference, interval,
        P(better), number of pairs, conclusion.
    """
    rows = []
    for (first, second, metric), found in results.comparisons.items():
        quantity = METRICS[metric]
        chance = found.improvement
        ends = [chance.value, chance.low, chance.high]
        if quantity.better < 0:
            ends = [1.0 - chance.value, 1.0 - chance.high, 1.0 - chance.low]
        carries = {1: "higher", -1: "lower", 0: "nothing"}[found.sign]
        if not results.has_every_value(first, second, metric):
            carries = "nothing: not every run has a value"
        elif found.n < MIN_PAIRS:
            carries = f"nothing: n < {MIN_PAIRS}"
        ranged = math.isfinite(ends[1])
        rows.append(
            [
                first,
                second,
                quantity.title,
                format_number(found.mean, "+.3g"),
                f"{format_number(found.low, '+.3g')} to {format_number(found.high, '+.3g')}"
                if found.n >= MIN_PAIRS
                else "–",
                format_number(ends[0], ".2f")
                + (f" ({ends[1]:.2f} to {ends[2]:.2f})" if ranged else ""),
                str(found.n),
                carries,
            ]
        )
    return rows


def warnings(results: Results) -> list[str]:
    """Return warnings about the data: failed or missing runs, different versions of the code."""
    notes = []
    failed = [run.job.name for run in results.runs if run.state == "failed"]
    if failed:
        notes.append(
            f"These runs failed and are in no figure below: {', '.join(failed)}. Figures of their "
            "variants are computed from the remaining runs."
        )
    missing = [run for run in results.runs if run.state in ("unfinished", "not started")]
    if missing:
        notes.append(f"{len(missing)} of {len(results.runs)} runs are not finished yet.")
    codes = {_code(run.provenance) for run in results.runs if run.has_metrics}
    if len(codes) > 1:
        notes.append(f"The runs were made with {len(codes)} versions of the program.")
    return notes


def _code(provenance: dict[str, Any]) -> str:
    git = provenance.get("git") or {}
    changes = f" with changes {git['diff_sha256'][:8]}" if git.get("diff_sha256") else ""
    return f"{git.get('commit', 'no commit')}{changes}"


def differences(study: Study) -> list[list[str]]:
    """Return what the variants change of `robot learn`'s defaults.

    Returns:
        Rows of the texts variant, key, default and value. Changes that all variants share come
        first, under the variant "all"; then those of each variant.
    """
    default = dict(leaves(resolve_config().config.model_dump(mode="json")))
    changed = study.changed()
    first = next(iter(changed.values()))
    shared = {
        key: value
        for key, value in first.items()
        if all(key in values and values[key] == value for values in changed.values())
    }
    rows = []
    for variant, values in {"all": shared, **changed}.items():
        own = [key for key in values if variant == "all" or key not in shared]
        for number, key in enumerate(own):
            name = "" if number else variant
            rows.append([name, key, _value(default[key]), _value(values[key])])
        if not own and variant != "all":
            rows.append([variant, "–", "", "nothing else" if shared else "nothing"])
    return rows


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _run_row(run: Any) -> dict[str, str]:
    return {
        "name": run.job.name,
        "link": f"../{run.job.folder}/",
        "state": run.state,
        "why": run.why,
        "minutes": format_number(run.metrics.get("robot_minutes", math.nan), ".1f"),
        "wall": format_number(run.metrics.get("wall_minutes", math.nan), ".1f"),
    }


def started(results: Results) -> list[str]:
    """Return the start times of the runs with metrics (ISO 8601, UTC), in order."""
    return sorted(
        str(run.provenance.get("start_utc", "")) for run in results.runs if run.has_metrics
    )


def facts(results: Results) -> list[tuple[str, str]]:
    """Return the provenance of the runs as (name, value): command, code, machine, libraries."""
    made = [run.provenance for run in results.runs if run.provenance]
    study = results.study
    seeds = len({run.job.seed for run in results.runs})
    rows = [("Command", command(study, seeds)), ("Study file", study.source)]

    def each(title: str, values: list[str]) -> None:
        known = dict.fromkeys(value for value in values if value)
        if known:
            rows.append((title, "; ".join(known)))

    starts = started(results)
    if starts:
        rows.append(("Runs started", f"{starts[0][:16]} to {starts[-1][:16]} UTC"))
    each("Code", [_code(p) for p in made])
    each("Processor", [f"{p.get('cpu')} ({p.get('cpus')} cores)" for p in made])
    each("Platform", [str(p.get("platform", "")) for p in made])
    each("Python", [str(p.get("python", "")) for p in made])
    libraries = [
        ", ".join(f"{k} {v}" for k, v in (p.get("versions") or {}).items() if v) for p in made
    ]
    each("Libraries", libraries)
    return rows


def command(study: Study, seeds: int) -> str:
    """Return the command line that repeats the study.

    Args:
        study: the study, with the overrides of its command line.
        seeds: number of seeds per variant.
    """
    shipped_as = f"configs/ablations/{study.name}.yaml"
    name = study.name if study.source == shipped_as and study.name in shipped() else study.source
    words = ["robot", "ablate", name, "--seeds", str(seeds)]
    words += ["--minutes", f"{study.file.minutes:g}"]
    for override in study.overrides:
        words += ["--set", override]
    return shlex.join(words)


def _figures(results: Results, folder: StudyFolder) -> list[FigureOnPage]:
    shown = []
    with mpl.rc_context(STYLE):
        for name, (title, draw, caption) in FIGURES.items():
            picture = folder.path / "report" / f"{name}.png"
            figure = draw(results, folder)
            if figure is None:
                picture.unlink(missing_ok=True)  # of an earlier page
                continue
            figure.savefig(picture, dpi=PNG_DPI)
            figure.set_layout_engine("none")
            shown.append(FigureOnPage(name, title, caption, svg_uri(figure)))
    return shown

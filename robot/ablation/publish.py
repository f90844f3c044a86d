# SPDX-License-Identifier: MIT
"""Writes the results of a finished study as a section of a Markdown file.

The section is delimited by two comments, so that publishing the same study again replaces it.
Figures are copied to images/ beside the file. A study is published only if it has at least
`MIN_PAIRS` seeds and no unfinished run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from walkhome.robot.ablation.conclusion import conclude
from walkhome.robot.ablation.figures import FIGURES
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.metric_names import METRICS
from walkhome.robot.ablation.page import (
    cell_of,
    command,
    comparisons,
    differences,
    facts,
    started,
    warnings,
)
from walkhome.robot.ablation.results import Results, shown_metrics
from walkhome.robot.ablation.statistics import MIN_PAIRS
from walkhome.robot.ablation.study import Job
from walkhome.robot.storage.atomic_files import write_text
from walkhome.robot.storage.run_folder import RunError

_TITLE = """# Results of the ablations

Each section is written by `robot ablate STUDY --results docs/results.md` from runs in the twin.
`docs/ablations.md` explains how to read it.
"""


def check_seeds(jobs: Sequence[Job]) -> None:
    """Refuse a study with too few seeds.

    Raises:
        RunError: there are fewer than `MIN_PAIRS` seeds.
    """
    seeds = {job.seed for job in jobs}
    if len(seeds) < MIN_PAIRS:
        raise RunError(f"--results: {len(seeds)} seeds are too few; use --seeds {MIN_PAIRS}")


def check_publishable(results: Results) -> None:
    """Refuse a study that is not finished.

    Raises:
        RunError: there are too few seeds, or unfinished runs.
    """
    check_seeds([run.job for run in results.runs])
    open_ones = [run.job.name for run in results.runs if run.state in ("unfinished", "not started")]
    if open_ones:
        raise RunError(
            f"--results: {len(open_ones)} of {len(results.runs)} runs are not finished "
            f"({', '.join(open_ones[:3])}, ...); continue the study"
        )


def check_target(target: Path) -> None:
    """Refuse a target that cannot be written; called before the runs, which take hours.

    Raises:
        RunError: the target is a folder, or its folder cannot be written.
    """
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if target.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"--results {target}: no Markdown file can be written there; name another")


def publish(results: Results, folder: StudyFolder, target: Path) -> None:
    """Write a study into a Markdown file, or replace its section there.

    Args:
        results: results of the study.
        folder: folder of the study, whose report has the figures.
        target: the Markdown file; created if it does not exist.

    Raises:
        RunError: the study is not finished, or has too few seeds.
        OSError: the file cannot be written.
    """
    check_publishable(results)
    name = results.study.name
    images = target.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    pictures = []
    for figure, (title, _, caption) in FIGURES.items():
        source = folder.path / "report" / f"{figure}.png"
        if source.is_file():
            shutil.copyfile(source, images / f"ablation-{name}-{figure}.png")
            pictures.append(f"![{title}: {caption}](images/ablation-{name}-{figure}.png)")
    begin, end = f"<!-- ablation {name} -->", f"<!-- end of {name} -->"
    section = "\n".join([begin, section_of(results, pictures), end])
    known = target.read_text(encoding="utf-8") if target.is_file() else _TITLE
    if begin in known and end in known:
        before, _, rest = known.partition(begin)
        known = before + section + rest.partition(end)[2]
    else:
        known = known.rstrip() + "\n\n" + section + "\n"
    write_text(target, known)


def section_of(results: Results, pictures: list[str]) -> str:
    """Return the Markdown section of a study, without its delimiting comments.

    Args:
        results: results of the study.
        pictures: Markdown images of its figures.
    """
    study, shown = results.study, shown_metrics(results.study)
    rows = ["| variant | n | " + " | ".join(METRICS[m].title for m in shown) + " |"]
    rows.append("|---|---|" + "---|" * len(shown))
    for variant in study.configs:
        cells = []
        for metric in shown:
            cell = cell_of(results, variant, metric)
            cells.append(f"{cell.value} ({cell.interval})")
        n = f"{len(results.runs_with_metrics(variant))} of {len(results.runs_of(variant))}"
        rows.append(f"| {variant} | {n} | " + " | ".join(cells) + " |")
    changed = ["| variant | key | default | here |", "|---|---|---|---|"]
    changed += ["| " + " | ".join(row) + " |" for row in differences(study)]
    known = dict(facts(results))
    seeds = len({run.job.seed for run in results.runs})
    parts = [
        f"## {study.name}",
        f"**{study.file.question}** {conclude(results)}",
        *warnings(results),
        "\n".join(rows),
        "Interquartile means over seeds with 95 % bootstrap intervals.",
        *_claims(results),
        study.file.notes.strip(),
        "The variants change:",
        "\n".join(changed),
        *pictures,
        f"Runs of {_days(results)}, {known.get('Processor', 'unknown processor')}, code "
        f"{known.get('Code', 'unknown')}. "
        f"To repeat: `{command(study, seeds)} --results docs/results.md`",
    ]
    return "\n\n".join(part for part in parts if part)


def _claims(results: Results) -> list[str]:
    """Return the table of comparisons, on which the conclusion is based, and its note."""
    rows = comparisons(results)
    if not rows:
        return []
    level = f"{100.0 - 5.0 / results.study.n_comparisons:.4g}"
    titles = ["variant", "against", "metric", "difference", f"{level} % interval", "P(better)", "n"]
    titles.append("conclusion")
    table = [f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows)]
    text = (
        "Mean differences paired by seed, with simultaneous 95 % Student's t intervals "
        "(Bonferroni); P(better) is over all pairs of runs."
    )
    return ["\n".join(table), text]


def _days(results: Results) -> str:
    days = [start[:10] for start in started(results)]
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"

# SPDX-License-Identifier: MIT
"""A finished study as a section of a Markdown file, with its figures beside it.

The section stands between two comments, so that the same study replaces it the next time. Only what
was run to its end and may carry a claim is written: enough seeds, and no run left to do.
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

Each section is written by `robot ablate STUDY --results docs/results.md` from runs in the twin; how
to read it is in `docs/ablations.md`.
"""


def check_seeds(jobs: Sequence[Job]) -> None:
    """Refuse a study of too few seeds.

    Raises:
        RunError: it is one.
    """
    seeds = {job.seed for job in jobs}
    if len(seeds) < MIN_PAIRS:
        raise RunError(f"--results: {len(seeds)} seeds are no result; use --seeds {MIN_PAIRS}")


def check_publishable(results: Results) -> None:
    """Refuse what is not a result yet.

    Raises:
        RunError: too few seeds, or runs that are not finished.
    """
    check_seeds([run.job for run in results.runs])
    open_ones = [run.job.name for run in results.runs if run.state in ("unfinished", "not started")]
    if open_ones:
        raise RunError(f"--results: {', '.join(open_ones[:3])} ... not finished; run the study on")


def check_target(target: Path) -> None:
    """Refuse what can't be written, before hours of runs.

    Raises:
        RunError: it is a folder, or its folder can't be written.
    """
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if target.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"--results {target}: no Markdown file can be written there; name another")


def publish(results: Results, folder: StudyFolder, target: Path) -> None:
    """Put a study into a Markdown file, dated by its runs.

    Raises:
        RunError: it is not finished, or has too few seeds. OSError: the file can't be written.
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
    """The Markdown of one study."""
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
        f"The same again: `{command(study, seeds)} --results docs/results.md`",
    ]
    return "\n\n".join(part for part in parts if part)


def _claims(results: Results) -> list[str]:
    """The comparisons that the answer rests on."""
    rows = comparisons(results)
    if not rows:
        return []
    level = f"{100.0 - 5.0 / results.study.n_comparisons:.4g}"
    titles = ["variant", "against", "metric", "difference", f"{level} % interval", "P(better)", "n"]
    titles.append("the interval carries")
    table = [f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows)]
    text = (
        "Means of the differences by seed, with Student's intervals that hold together with 95 %; "
        "P(better) is over all pairs of runs."
    )
    return ["\n".join(table), text]


def _days(results: Results) -> str:
    days = [start[:10] for start in started(results)]
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"

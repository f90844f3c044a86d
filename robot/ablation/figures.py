# SPDX-License-Identifier: MIT
"""Figures of a study's page.

Each figure is a function that takes `Results` and the study's folder and returns a figure, or None
if there is no data for it; `FIGURES` lists them in the order of the page. Individual runs are shown
next to every estimate. The layout follows Ha et al. 2020: returns and falls per variant, workspaces
side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.metric_names import CURVES, METRICS
from walkhome.robot.ablation.results import Results, shown_metrics
from walkhome.robot.report.figures import draw_workspace
from walkhome.robot.report.run_data import RunData
from walkhome.robot.report.style import MINUTES, VARIANT_COLOURS
from walkhome.robot.storage.run_folder import RunFolder

LINES = ("-", "--", "-.", ":")  # variants differ by line style too, for greyscale print
MARKS = ("o", "s", "^", "v", "D", "P", "X", "*")
PANELS_PER_ROW = 3


def style(results: Results, variant: str) -> tuple[str, str, str]:
    """Return the colour, line style and marker of a variant; the same in all figures."""
    index = list(results.study.configs).index(variant)
    colour = VARIANT_COLOURS[index % len(VARIANT_COLOURS)]
    line = LINES[(index + index // len(VARIANT_COLOURS)) % len(LINES)]
    return colour, line, MARKS[index % len(MARKS)]


def per_variant(results: Results, folder: StudyFolder) -> Figure | None:
    """Draw a panel per metric: each run as a mark, interquartile means with their intervals."""
    variants = list(results.study.configs)
    shown = [
        metric
        for metric in shown_metrics(results.study)
        if any(len(results.values(variant, metric)) for variant in variants)
    ]
    if not shown:
        return None
    columns = min(PANELS_PER_ROW, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = 0.9 + 0.3 * len(variants)
    figure = Figure(figsize=(9.0, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, metric in zip(axes.flat, shown, strict=False):
        _metric_panel(axis, results, metric)
    axes[0, 0].set_ylim(len(variants) - 0.5, -0.5)
    axes[0, 0].set_yticks(range(len(variants)), variants)
    return figure


def _metric_panel(axis: Axes, results: Results, metric: str) -> None:
    for row, variant in enumerate(results.study.configs):
        colour, _, mark = style(results, variant)
        values = results.values(variant, metric)
        # Spread over the row, so that equal values don't hide one another.
        offsets = row + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [row]
        axis.plot(
            values,
            offsets[: len(values)],
            mark,
            color=colour,
            markersize=3.5,
            alpha=0.55,
            markeredgewidth=0,
        )
        found = results.estimate(variant, metric)
        if not found.n:
            continue
        if found.has_interval:
            axis.plot([found.low, found.high], [row, row], color=colour, linewidth=2.2)
        axis.plot(
            found.value,
            row,
            mark,
            color=colour,
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=3,
        )
    quantity = METRICS[metric]
    arrow = {1: " → better", -1: " ← better", 0: ""}[quantity.better]
    axis.set_xlabel(quantity.title + arrow)
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.08)


def learning_curves(results: Results, folder: StudyFolder) -> Figure | None:
    """Draw the study's curves over robot minutes, with pointwise intervals over seeds."""
    names = results.study.file.curves or ("return", "falls")
    if not any(run.has_metrics for run in results.runs):
        return None
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(9.0, 3.0 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        for variant in results.study.configs:
            curve = results.curve(variant, name)
            if not np.isfinite(curve.value).any():
                continue
            colour, line, _ = style(results, variant)
            label = f"{variant} (n = {curve.n})"
            axis.plot(curve.minutes, curve.value, line, color=colour, label=label)
            axis.fill_between(
                curve.minutes, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0
            )
        axis.set_ylabel(CURVES[name].title)
        axis.set_xlabel(MINUTES)
        axis.set_xlim(0.0, results.study.file.minutes)
        axis.tick_params(labelbottom=True)  # the panel below may be missing
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))))
    return figure


def workspaces(results: Results, folder: StudyFolder) -> Figure | None:
    """Draw the workspace maps of the study's `maps` variants (first run with metrics of each)."""
    names = [name for name in results.study.file.maps if results.runs_with_metrics(name)]
    if not names:
        return None
    figure = Figure(figsize=(4.5 * len(names), 5.6), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        run = results.runs_with_metrics(name)[0]
        draw_workspace(axis, RunData.read(RunFolder.open(folder.run_of(run.job))))
        axis.set_title(f"{name}, seed {run.job.seed}")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)
    return figure


def across_terrains(results: Results, folder: StudyFolder) -> Figure | None:
    """Draw a table of the mean speed (m/s) of every variant on every evaluated terrain."""
    terrains = results.study.file.evaluate.terrains
    variants = list(results.study.configs)
    if len(terrains) < 2 or not any(run.has_metrics for run in results.runs):
        return None
    table = np.array(
        [
            [
                np.mean(
                    [run.speeds.get(terrain, np.nan) for run in results.runs_with_metrics(variant)]
                )
                if results.runs_with_metrics(variant)
                else np.nan
                for terrain in terrains
            ]
            for variant in variants
        ]
    )
    figure = Figure(
        figsize=(1.8 + 1.1 * len(terrains), 1.4 + 0.6 * len(variants)), layout="constrained"
    )
    axis = figure.subplots()
    top = max(0.1, float(np.nanmax(table, initial=0.0)))
    axis.imshow(table, cmap="Blues", vmin=0.0, vmax=top, aspect="auto")
    for row, variant in enumerate(variants):
        for column in range(len(terrains)):
            value = table[row, column]
            axis.text(
                column,
                row,
                f"{value:.2f}\nn = {len(results.runs_with_metrics(variant))}",
                ha="center",
                va="center",
                color="white" if value > 0.55 * top else "black",
            )
    axis.set_xticks(range(len(terrains)), terrains)
    axis.set_yticks(range(len(variants)), variants)
    axis.set_xlabel("evaluated on")
    axis.set_ylabel("learned as")
    axis.grid(visible=False)
    return figure


FIGURES: dict[str, tuple[str, Callable[[Results, StudyFolder], Figure | None], str]] = {
    "per_variant": (
        "Per variant",
        per_variant,
        "Small marks are runs, one per seed. Large marks are interquartile means, lines their 95 % "
        "bootstrap intervals.",
    ),
    "learning_curves": (
        "Over time",
        learning_curves,
        "Interquartile means over seeds; the bands are pointwise 95 % bootstrap intervals. Falls "
        "and exits are cumulative counts; other values are moving means over an eighth of the "
        "run's length. A line ends where the first of its runs ended.",
    ),
    "workspaces": (
        "Workspaces",
        workspaces,
        "Start of every roll-out and direction of its task, in the first finished run of each "
        "variant. The frame is the workspace; crosses mark where the robot left it.",
    ),
    "across_terrains": (
        "On other ground",
        across_terrains,
        "Mean speed (m/s) in deterministic roll-outs, averaged over seeds.",
    ),
}

# SPDX-License-Identifier: MIT
"""Report figures drawn from a run's episodes and metrics, and `FIGURES`, the list of all figures.

Each figure is a function that takes a `RunData` and returns a figure, or None if the run has no
data for it. `FIGURES` is in the order of the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from walkhome.robot.report.gait_figures import footfalls, toe_paths_of_tasks, torques_and_power
from walkhome.robot.report.run_data import (
    PHASES,
    RunData,
    running_mean,
    series,
    task_progress,
)
from walkhome.robot.report.step_figures import actions_and_torques, attitude
from walkhome.robot.report.style import (
    BLACK,
    BLUE,
    CONSTRAINT_LINE,
    MINUTES,
    PHASE_COLOUR,
    TASK_COLOUR,
    TASK_MARKER,
    TURNS,
    VERMILLION,
)
from walkhome.robot.training.statistics import SPEED_WINDOW

# Angle of a task's direction in the body frame (rad); other tasks' arrows show the heading.
_HEADING = {"backward": math.pi}


def learning_curves(run: RunData) -> Figure | None:
    """Draw per task the speed of every episode and its running mean over robot minutes."""
    tasks = [task for task in run.config.tasks if run.of_task(task)]
    if not tasks:
        return None
    columns = min(2, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(8.0, 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    first: dict[bool, Axes] = {}  # tasks of one unit share a scale, to be compared
    for axis, task in zip(axes.flat, tasks, strict=False):
        _learning_curve(axis, run, task)
        other = first.setdefault(task in TURNS, axis)
        if other is not axis:
            axis.sharey(other)
            other.autoscale(axis="y")
    for axis in axes[-1]:
        axis.set_xlabel(MINUTES)
    return figure


def _learning_curve(axis: Axes, run: RunData, task: str) -> None:
    episodes = run.of_task(task)
    minutes = series(episodes, "robot_s") / 60.0
    values = np.array([task_progress(episode, task) for episode in episodes])
    fell = np.array([episode.get("ended") == "fall" for episode in episodes])
    colour = TASK_COLOUR[task]
    axis.plot(
        minutes[~fell],
        values[~fell],
        TASK_MARKER[task],
        color=colour,
        markersize=3.5,
        alpha=0.6,
        markeredgewidth=0,
        label="episode",
    )
    if fell.any():
        axis.plot(minutes[fell], values[fell], "x", color="black", markersize=4.5, label="fell")
    mean = running_mean(values, SPEED_WINDOW)
    axis.plot(minutes, mean, color=colour, label=f"mean of {SPEED_WINDOW}")
    axis.axhline(0.0, color="black", linewidth=0.6)
    axis.set_title(task)
    axis.set_ylabel(f"turn rate to the {task} (rad/s)" if task in TURNS else f"speed {task} (m/s)")
    axis.set_xlim(left=0.0)
    _legend_above(axis)


def _legend_above(axis: Axes) -> None:
    # Beside the title: inside the axes it could hide marks.
    axis.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
        ncols=3,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def workspace_map(run: RunData) -> Figure | None:
    """Draw a map of the floor: each episode's start and the direction of its task (Ha 2020)."""
    if not any(_is_pose(episode.get("start")) for episode in run.episodes):
        return None
    figure = Figure(figsize=(6.2, 5.6), layout="constrained")
    draw_workspace(figure.subplots(), run)
    return figure


def draw_workspace(axis: Axes, run: RunData) -> None:
    """Draw the map of the workspace on an axis; see `workspace_map`."""
    starts = [episode for episode in run.episodes if _is_pose(episode.get("start"))]
    area = run.config.workspace
    corner = (-area.half_length_m, -area.half_width_m)
    size = (2 * area.half_length_m, 2 * area.half_width_m)
    axis.add_patch(Rectangle(corner, *size, fill=False, linewidth=1.8))
    axis.add_patch(Circle((0, 0), area.centre_radius_m, fill=False, linestyle=":", color="0.4"))
    axis.plot(0, 0, "+", color="black", markersize=10)
    length = 0.09 * max(size) / 2
    for task in run.config.tasks:
        own = [episode for episode in starts if episode["task"] == task]
        if own:
            _arrows(axis, own, task, length)
    exits = [e["end"] for e in starts if e.get("ended") == "exit" and _is_pose(e.get("end"))]
    if exits:
        x, y = np.array(exits, dtype=np.float64)[:, :2].T
        label = f"left the workspace ({len(exits)})"
        axis.plot(x, y, "x", color="black", markersize=6, label=label)
    axis.set_aspect("equal")
    axis.autoscale_view()
    axis.margins(0.06)
    axis.set_xlabel("x (m)")
    axis.set_ylabel("y (m)")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, columnspacing=1.2)


def _arrows(axis: Axes, episodes: list[dict[str, Any]], task: str, length: float) -> None:
    pose = np.array([episode["start"] for episode in episodes], dtype=np.float64)
    heading = pose[:, 2] + _HEADING.get(task, 0.0)
    colour = TASK_COLOUR[task]
    axis.quiver(
        pose[:, 0],
        pose[:, 1],
        length * np.cos(heading),
        length * np.sin(heading),
        color=colour,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.0042,
        alpha=0.8,
    )
    axis.plot(
        pose[:, 0],
        pose[:, 1],
        TASK_MARKER[task],
        color=colour,
        markersize=3.0,
        alpha=0.8,
        markeredgewidth=0,
        label=f"{task} ({len(episodes)})",
    )


def _is_pose(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(number, (int, float)) for number in value)
    )


def falls_over_time(run: RunData) -> Figure | None:
    """Draw cumulative counts of falls, workspace exits and failed stand-ups over robot minutes."""
    if not run.episodes:
        return None
    figure = Figure(figsize=(8.0, 2.8), layout="constrained")
    axis = figure.subplots()
    last = float(np.nanmax(series([*run.episodes, *run.stand_ups], "robot_s"))) / 60.0

    def count(rows: list[dict[str, Any]], label: str, colour: str, line: str) -> None:
        minutes = np.sort(series(rows, "robot_s") / 60.0)
        x = np.concatenate([[0.0], minutes, [last]])
        y = np.concatenate([np.arange(len(rows) + 1), [len(rows)]])
        axis.step(x, y, where="post", color=colour, linestyle=line, label=f"{label}: {len(rows)}")

    count([e for e in run.episodes if e.get("ended") == "fall"], "falls", VERMILLION, "-")
    count([e for e in run.episodes if e.get("ended") == "exit"], "workspace exits", BLUE, "--")
    count([e for e in run.stand_ups if not e.get("ok")], "failed stand-ups", BLACK, ":")
    axis.set_xlabel(MINUTES)
    axis.set_ylabel("count since the start")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(left=0.0)
    axis.set_ylim(bottom=0.0)
    _legend_above(axis)
    return figure


def multipliers(run: RunData) -> Figure | None:
    """Draw the multipliers and the temperature of every task over robot minutes."""
    rows = [row for row in run.metrics if isinstance(row.get("tasks"), dict)]
    if not rows:
        return None
    minutes = series(rows, "robot_s") / 60.0
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    names = ("pitch", "roll") if run.config.constraint.form == "vector" else ("margin",)
    for task in run.config.tasks:
        own = [row["tasks"].get(task) or {} for row in rows]
        colour = TASK_COLOUR[task]
        for index, name in enumerate(names):
            values = [_item(row.get("lambda"), index) for row in own]
            line = CONSTRAINT_LINE.get(name, "-")
            top.plot(minutes, values, color=colour, linestyle=line, label=f"{task}, {name}")
        bottom.plot(minutes, series(own, "alpha"), color=colour, label=task)
    top.set_ylabel("multiplier λ (reward/cost)")
    top.set_ylim(bottom=0.0)
    bottom.set_ylabel("temperature α (reward/nat)")
    if any(np.nanmax(line.get_ydata(), initial=0.0) > 0.0 for line in bottom.lines):
        bottom.set_yscale("log")
    bottom.set_xlabel(MINUTES)
    bottom.set_xlim(left=0.0)
    for axis in (top, bottom):
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure


def _item(values: Any, index: int) -> float:
    if isinstance(values, list) and index < len(values) and values[index] is not None:
        return float(values[index])
    return float("nan")


def duty_cycle(run: RunData) -> Figure | None:
    """Draw the shares of robot time spent moving, standing up and waiting, over the run."""
    if not run.metrics:
        return None
    minutes = np.concatenate([[0.0], series(run.metrics, "robot_s") / 60.0])
    spent = {
        phase: np.concatenate([[0.0], series(run.metrics, f"{phase}_s") / 60.0]) for phase in PHASES
    }
    if not np.isfinite(minutes).all() or minutes[-1] <= 0.0:
        return None
    edges = np.linspace(0.0, minutes[-1], max(2, min(41, len(minutes))))
    figure = Figure(figsize=(8.0, 2.6), layout="constrained")
    axis = figure.subplots()
    width, bottom = float(edges[1] - edges[0]), np.zeros(len(edges) - 1)
    total = sum(float(values[-1]) for values in spent.values())
    for phase, values in spent.items():
        share = np.diff(np.interp(edges, minutes, values)) / width * 100.0
        label = f"{phase.replace('_', ' ')}: {values[-1] / max(total, 1e-9):.0%}"
        axis.bar(
            edges[:-1],
            share,
            width,
            bottom,
            align="edge",
            color=PHASE_COLOUR[phase],
            edgecolor="white",
            linewidth=0.4,
            label=label,
        )
        bottom += share
    axis.set_xlabel(MINUTES)
    axis.set_ylabel("share of robot time (%)")
    axis.set_xlim(0.0, minutes[-1])
    axis.set_ylim(0.0, 100.0)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


FIGURES: dict[str, tuple[str, Callable[[RunData], Figure | None], str]] = {
    "learning_curves": (
        "Learning curves",
        learning_curves,
        "Each mark is an episode; the line is the mean of the last ten. Walking tasks show the "
        "speed along the task's direction, turning tasks the turn rate toward the task's side; "
        "higher is better.",
    ),
    "workspace_map": (
        "Workspace",
        workspace_map,
        "Start of every episode, with an arrow along the direction of its task (for turns: the "
        "robot's heading). The scheduler chooses a task that leads toward the centre. The frame is "
        "the workspace; inside the dotted circle any task may be chosen.",
    ),
    "falls_over_time": (
        "Falls",
        falls_over_time,
        "Cumulative counts since the start of the run; where a line is flat, no event occurred.",
    ),
    "multipliers": (
        "Constraints and exploration",
        multipliers,
        "Top: Lagrange multipliers λ, the weight of each limit against the reward; a multiplier "
        "rises while its limit is exceeded more often than the budget allows. Bottom: the "
        "temperature α, the weight of the entropy.",
    ),
    "duty_cycle": (
        "Duty cycle",
        duty_cycle,
        "Shares of robot time spent moving (episodes), standing up and waiting.",
    ),
    "attitude": (
        "Attitude",
        attitude,
        "Pitch and roll over all steps of episodes, with the limits of the constraints.",
    ),
    "actions_and_torques": (
        "Actions and torques",
        actions_and_torques,
        "Distributions over all steps. A peak at the ends of the action range means that the "
        "policy saturates its actions.",
    ),
    "footfalls": (
        "Footfalls",
        footfalls,
        "Bars show when a foot is on the ground, after the gait has settled (Hildebrand diagram). "
        "In the twin, contacts are ground forces of a deterministic roll-out. A robot has no foot "
        "sensors: there, contacts are estimated from the motors' torques in one of the last "
        "episodes of learning, and are right about 90 % of the time (docs/driving.md). A stride "
        "begins when a foot touches down; contacts and gaps shorter than 30 ms are removed.",
    ),
    "toe_paths": (
        "Toe paths",
        toe_paths_of_tasks,
        "Paths of the toes in the body frame, seen from the right, head to the right; crosses mark "
        "the hips. Computed from the measured motor angles with the five-bar kinematics of a rigid "
        "leg.",
    ),
    "torques_and_power": (
        "Torque and power",
        torques_and_power,
        "Left: root mean square torque, which heats the motors; a motor that stays above the "
        "dashed line overheats. Right: electrical power of all motors over a stride of the front "
        "left leg, mean and standard deviation; regenerated power is not counted.",
    ),
}

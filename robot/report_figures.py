# SPDX-License-Identifier: MIT
"""The figures of a report; each takes a `RunData` and gives a figure, or None without data.

Colours are Okabe and Ito's, which people with any common colour blindness can tell apart (Okabe and
Ito 2008, jfly.uni-koeln.de/color); tasks also differ by marker and constraints by line, for print
in grey. Every axis says its quantity and unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from robot.report_data import (
    PHASES,
    SPEED_WINDOW,
    FloatArray,
    RunData,
    progress_of,
    running_mean,
    series,
)

TASK_COLOUR = {
    "forward": "#0072B2",
    "backward": "#D55E00",
    "left": "#009E73",
    "right": "#CC79A7",
}
TASK_MARKER = {"forward": "o", "backward": "s", "left": "^", "right": "v"}
PHASE_COLOUR = {"moving": "#0072B2", "standing_up": "#E69F00", "waiting": "#999999"}
CONSTRAINT_LINE = {"pitch": "-", "roll": "--"}
LIMIT_COLOUR = "#444444"
STYLE: Any = {  # of matplotlib's own type for it, which is not public
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    # The same run gives the same file.
    "svg.hashsalt": "walkhome",
}
_TURNS = ("left", "right")
_MINUTES = "robot time (min)"
# Where a task's direction points in the body frame; a turn has none, its arrow is the heading.
_HEADING = {"backward": math.pi}


def learning_curves(run: RunData) -> Figure | None:
    """Per task: every episode's speed, and the running mean, over robot minutes."""
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
        other = first.setdefault(task in _TURNS, axis)
        if other is not axis:
            axis.sharey(other)
            other.autoscale(axis="y")
    for axis in axes[-1]:
        axis.set_xlabel(_MINUTES)
    return figure


def _learning_curve(axis: Axes, run: RunData, task: str) -> None:
    episodes = run.of_task(task)
    minutes = series(episodes, "robot_s") / 60.0
    values = np.array([progress_of(episode, task) for episode in episodes])
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
    axis.set_ylabel(f"turn rate to the {task} (rad/s)" if task in _TURNS else f"speed {task} (m/s)")
    axis.set_xlim(left=0.0)
    axis.legend(loc="best", ncols=3, fontsize=8, handletextpad=0.3, columnspacing=1.0)


def workspace_map(run: RunData) -> Figure | None:
    """Where each episode started and where its task pointed, on the floor (after Ha 2020)."""
    starts = [episode for episode in run.episodes if _is_pose(episode.get("start"))]
    if not starts:
        return None
    area = run.config.workspace
    figure = Figure(figsize=(6.2, 5.6), layout="constrained")
    axis = figure.subplots()
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
    return figure


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
    """Falls, workspace exits and failed stand-ups, counted up over robot minutes."""
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

    count([e for e in run.episodes if e.get("ended") == "fall"], "falls", "#D55E00", "-")
    count([e for e in run.episodes if e.get("ended") == "exit"], "workspace exits", "#0072B2", "--")
    count([e for e in run.stand_ups if not e.get("ok")], "stand-ups given up", "black", ":")
    axis.set_xlabel(_MINUTES)
    axis.set_ylabel("count since the start")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(left=0.0)
    axis.set_ylim(bottom=0.0)
    axis.legend(loc="upper left")
    return figure


def multipliers(run: RunData) -> Figure | None:
    """The multipliers and the temperature of every task over robot minutes."""
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
    bottom.set_yscale("log")
    bottom.set_xlabel(_MINUTES)
    bottom.set_xlim(left=0.0)
    for axis in (top, bottom):
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure


def _item(values: Any, index: int) -> float:
    if isinstance(values, list) and index < len(values) and values[index] is not None:
        return float(values[index])
    return float("nan")


def duty_cycle(run: RunData) -> Figure | None:
    """What share of each stretch of robot time went into moving, standing up and waiting."""
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
    axis.set_xlabel(_MINUTES)
    axis.set_ylabel("share of robot time (%)")
    axis.set_xlim(0.0, minutes[-1])
    axis.set_ylim(0.0, 100.0)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def actions_and_torques(run: RunData) -> Figure | None:
    """How the actions and the motors' torques were distributed over all steps."""
    if not len(run.records):
        return None
    figure = Figure(figsize=(8.0, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(-1.0, 1.0, 41)
    for part, columns, colour in (
        ("swing", slice(0, 4), "#0072B2"),
        ("extension", slice(4, 8), "#D55E00"),
    ):
        for name, line in (("action", ":"), ("filtered", "-")):
            values = _finite(run.records[name][:, columns])
            label = f"{part}, {'as asked' if name == 'action' else 'after the filter'}"
            _outline(left, np.clip(values, -1, 1), bins, color=colour, linestyle=line, label=label)
    left.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
    left.set_xlabel("action (share of its range)")
    left.set_ylabel("share of steps and legs (%)")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    body = run.config.robot.to_body()
    torque = _finite(run.records["torque"])
    reach = 1.05 * max(body.torque_limit_nm, float(np.abs(torque).max(initial=0.0)))
    _outline(right, torque, np.linspace(-reach, reach, 61), color="#0072B2", label="all motors")
    for sign, note in ((-1, None), (1, f"overheats within {body.overheat_s:g} s")):
        limit = sign * body.overheat_torque_nm
        right.axvline(limit, color=LIMIT_COLOUR, linestyle="--", label=note)
    right.set_yscale("log")
    right.set_xlabel("motor torque (N m)")
    right.set_ylabel("share of steps and motors (%)")
    right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def _finite(values: npt.NDArray[Any]) -> FloatArray:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[np.isfinite(flat)]


def _outline(axis: Axes, values: FloatArray, bins: FloatArray, **style: Any) -> None:
    weights = np.full(len(values), 100.0 / max(1, len(values)))
    axis.hist(values, bins.tolist(), weights=weights, histtype="step", linewidth=1.4, **style)


def attitude(run: RunData) -> Figure | None:
    """Pitch and roll over robot minutes, with the limits that the constraints set."""
    if not len(run.records):
        return None
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    minutes = run.record_minutes()
    constraint = run.config.constraint
    for axis, name, column, limit in (
        (axes[0], "pitch", 1, constraint.pitch_limit_rad),
        (axes[1], "roll", 0, constraint.roll_limit_rad),
    ):
        values = np.degrees(run.records["attitude"][:, column].astype(np.float64))
        _band(axis, minutes, values)
        beyond = float(np.mean(np.abs(values) > math.degrees(limit)))
        label = f"limit; {beyond:.1%} of steps beyond"
        for sign in (-1, 1):
            axis.axhline(
                sign * math.degrees(limit),
                color="#D55E00",
                linestyle="--",
                label=label if sign > 0 else None,
            )
        axis.set_ylabel(f"{name} (°)")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    axes[1].set_xlabel(_MINUTES)
    axes[1].set_xlim(left=0.0)
    return figure


def _band(axis: Axes, minutes: FloatArray, values: FloatArray) -> None:
    """Median, the middle 90 % and the extremes in up to 150 stretches of time."""
    good = np.isfinite(values)
    minutes, values = minutes[good], values[good]
    if not len(values):
        return
    groups = np.array_split(np.arange(len(values)), min(150, len(values)))
    centre = np.array([minutes[group].mean() for group in groups])
    low, p5, p50, p95, high = np.array(
        [np.percentile(values[group], [0, 5, 50, 95, 100]) for group in groups]
    ).T
    segments = [[(x, a), (x, b)] for x, a, b in zip(centre, low, high, strict=True)]
    extremes = LineCollection(segments, colors="#bbbbbb", linewidths=1.0, label="extremes")
    axis.add_collection(extremes)
    axis.fill_between(centre, p5, p95, color="#56B4E9", alpha=0.6, linewidth=0, label="middle 90 %")
    axis.plot(centre, p50, color="#0072B2", linewidth=1.2, label="median")
    axis.autoscale_view()


FIGURES: dict[str, tuple[str, Callable[[RunData], Figure | None], str]] = {
    "learning_curves": (
        "Learning curves",
        learning_curves,
        "Each mark is an episode, the line the mean of the last ten. Walking tasks show the speed "
        "along their direction, turning tasks the turn rate toward theirs: up is better.",
    ),
    "workspace_map": (
        "Workspace",
        workspace_map,
        "Every episode's start, with an arrow along the direction of its task (turns: the robot's "
        "heading). The task is chosen so that it leads toward the centre; the frame is the "
        "workspace, the dotted circle the centre where any task will do.",
    ),
    "falls_over_time": (
        "Falls",
        falls_over_time,
        "Counted up since the start; a line that flattens is a robot that has stopped falling.",
    ),
    "multipliers": (
        "Constraints and exploration",
        multipliers,
        "Above, how strongly each limit is weighed against walking (λ): it rises while the limit "
        "is broken more than its budget allows. Below, the temperature α.",
    ),
    "duty_cycle": (
        "Duty cycle",
        duty_cycle,
        "What the robot minutes went into.",
    ),
    "attitude": (
        "Attitude",
        attitude,
        "Pitch and roll over all steps of episodes, with the constraints' limits.",
    ),
    "actions_and_torques": (
        "Actions and torques",
        actions_and_torques,
        "How often each value occurred; a heap at the ends of the action range means that the "
        "policy pushes against it.",
    ),
}

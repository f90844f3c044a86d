# SPDX-License-Identifier: MIT
"""Report figures drawn from the journal's records of every step: actions, torques, attitude."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from walkhome.robot.report.run_data import FloatArray, RunData
from walkhome.robot.report.style import BLUE, LIMIT_COLOUR, MINUTES, SKY_BLUE, VERMILLION
from walkhome.robot.storage.journal import component


def actions_and_torques(run: RunData) -> Figure | None:
    """Draw the distributions of the actions and of the motors' torques over all steps."""
    if not len(run.records):
        return None
    figure = Figure(figsize=(8.0, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(-1.0, 1.0, 41)
    for part, columns, colour in (
        ("swing", slice(0, 4), BLUE),
        ("extension", slice(4, 8), VERMILLION),
    ):
        for name, line in (("action", ":"), ("filtered", "-")):
            values = _finite(run.records[name][:, columns])
            label = f"{part}, {'policy output' if name == 'action' else 'after the filter'}"
            _outline(left, np.clip(values, -1, 1), bins, color=colour, linestyle=line, label=label)
    left.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
    left.set_xlabel("action (share of its range)")
    left.set_ylabel("share of steps and legs (%)")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    body = run.config.robot.to_body()
    torque = _finite(run.records["torque"])
    reach = 1.05 * max(body.torque_limit_nm, float(np.abs(torque).max(initial=0.0)))
    _outline(right, torque, np.linspace(-reach, reach, 61), color=BLUE, label="all motors")
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
    """Draw pitch and roll over robot minutes, with the limits of the constraints."""
    if not len(run.records):
        return None
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    minutes = run.record_minutes()
    constraint = run.config.constraint
    for axis, name, limit in (
        (axes[0], "pitch", constraint.pitch_limit_rad),
        (axes[1], "roll", constraint.roll_limit_rad),
    ):
        values = np.degrees(component(run.records, "attitude", name).astype(np.float64))
        _band(axis, minutes, values)
        beyond = float(np.mean(np.abs(values) > math.degrees(limit)))
        label = f"limit; {beyond:.1%} of steps beyond"
        for sign in (-1, 1):
            axis.axhline(
                sign * math.degrees(limit),
                color=VERMILLION,
                linestyle="--",
                label=label if sign > 0 else None,
            )
        axis.set_ylabel(f"{name} (°)")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    axes[1].set_xlabel(MINUTES)
    axes[1].set_xlim(left=0.0)
    return figure


def _band(axis: Axes, minutes: FloatArray, values: FloatArray) -> None:
    """Draw median, 5th to 95th percentile and extremes in up to 150 stretches of time."""
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
    axis.fill_between(centre, p5, p95, color=SKY_BLUE, alpha=0.6, linewidth=0, label="middle 90 %")
    axis.plot(centre, p50, color=BLUE, linewidth=1.2, label="median")
    axis.autoscale_view()

# SPDX-License-Identifier: MIT
"""Gait figures of the report: footfalls, toe paths, torque and power.

The data are the gait records that `robot eval` made in the twin (`robot.evaluation.gait_record`) or
that were computed from a board's journal (`robot.evaluation.gait_from_torque`).
`robot.evaluation.gait` analyses them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from walkhome.hardware.body import LEG_NAMES
from walkhome.hardware.constants import N_LEGS
from walkhome.robot.evaluation.gait import (
    REFERENCE_LEG,
    Gait,
    analyse,
    stride_mean,
    toe_paths,
    touch_downs,
    without_chatter,
)
from walkhome.robot.evaluation.gait_record import GaitRecord
from walkhome.robot.report.run_data import FloatArray, RunData
from walkhome.robot.report.style import LEG_COLOUR, LIMIT_COLOUR, TASK_COLOUR

SETTLED_S = 2.0  # the gait is not steady before; the start of a record is left out
SHOWN_S = 2.0  # length of the footfall diagram
_NAMES = tuple(name.replace("_", " ") for name in LEG_NAMES)
_ROWS = (0, 2, 1, 3)  # from above: front left, front right, back left, back right


def settled(record: GaitRecord) -> GaitRecord:
    """Return the part of a record after `SETTLED_S`, or the whole record if it is shorter."""
    first = int(np.searchsorted(record.time_s, SETTLED_S))
    if len(record.time_s) - first < 2:
        return record
    return record.since(first)


def period_s(record: GaitRecord) -> float:
    """Return the sampling period of a record, in seconds."""
    return float(np.median(np.diff(record.time_s)))


def gait_of(record: GaitRecord) -> Gait:
    """Analyse the gait of a record after it has settled."""
    return analyse(settled(record).contact(), period_s(record))


def contact_source(record: GaitRecord) -> str:
    """Describe in words whether the contacts of a record are measured or estimated."""
    return "estimated from torque, on the robot" if record.estimated else "measured, in the twin"


def gait_rows(run: RunData) -> list[list[str]]:
    """Format the gait table: one row of cell texts per task."""
    rows = []
    for task, record in run.gaits.items():
        gait, part = gait_of(record), settled(record)
        rows.append(
            [
                task,
                gait.name,
                contact_source(record),
                _number(gait.stride_rate_hz, 2),
                _number(gait.step_rate_hz, 1),
                _number(part.mean_power_w, 0),
                _number(part.mean_mechanical_power_w, 0),
                *(_number(value, 2) for value in gait.duty_factor),
                *(
                    f"{_number(phase, 2)} ± {_number(_deviation(steady), 2)}"
                    for phase, steady in zip(gait.phase, gait.steadiness, strict=True)
                ),
            ]
        )
    return rows


def _deviation(steadiness: float) -> float:
    """Circular standard deviation, in strides, of a mean resultant length (Mardia 1972)."""
    return math.sqrt(-2.0 * math.log(steadiness)) / (2.0 * math.pi) if steadiness > 0 else math.nan


def _number(value: float, digits: int) -> str:
    """Format a number without "-0"; a dash stands for NaN."""
    return f"{round(value, digits) + 0.0:.{digits}f}" if math.isfinite(value) else "–"


def footfalls(run: RunData) -> Figure | None:
    """Draw per task when each foot is on the ground, over `SHOWN_S` seconds."""
    if not run.gaits:
        return None
    figure = Figure(figsize=(8.0, 1.5 * len(run.gaits) + 0.4), layout="constrained")
    axes = figure.subplots(len(run.gaits), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (task, record) in zip(axes, run.gaits.items(), strict=True):
        part, step_s = settled(record), period_s(record)
        contact = part.contact()
        for row, leg in enumerate(_ROWS):
            bars = _bars(without_chatter(contact[:, leg], step_s), step_s)
            axis.broken_barh(bars, (row - 0.35, 0.7), color=LEG_COLOUR[leg], linewidth=0)
        axis.set_yticks(range(N_LEGS), [_NAMES[leg] for leg in _ROWS])
        axis.set_ylim(N_LEGS - 0.4, -0.6)
        axis.set_xlim(0.0, min(SHOWN_S, len(contact) * step_s))
        axis.grid(visible=False, axis="y")
        gait = analyse(contact, step_s)
        axis.set_ylabel("foot (on ground)")
        axis.set_title(
            f"{task}: {gait.name}, {_number(gait.stride_rate_hz, 2)} strides/s; "
            f"contacts {contact_source(record)}"
        )
    axes[-1].set_xlabel("time (s)")
    return figure


def _bars(contact: npt.NDArray[np.bool_], step_s: float) -> list[tuple[float, float]]:
    """Return (start, length) in seconds of every stretch of contact in a (n,) record."""
    edges = np.diff(np.concatenate([[0], contact.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [
        (start * step_s, (end - start) * step_s)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def toe_paths_of_tasks(run: RunData) -> Figure | None:
    """Draw per task the paths of the four toes in the body frame."""
    if not run.gaits:
        return None
    body = run.config.robot.to_body()
    columns = min(2, len(run.gaits))
    rows = math.ceil(len(run.gaits) / columns)
    figure = Figure(figsize=(8.0, 2.3 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(run.gaits) :]:
        axis.set_visible(False)
    for axis, (task, record) in zip(axes.flat, run.gaits.items(), strict=False):
        paths = toe_paths(settled(record).motor_angle_rad, body)
        for leg in range(N_LEGS):
            axis.plot(
                100.0 * paths[:, leg, 0],
                100.0 * paths[:, leg, 1],
                color=LEG_COLOUR[leg],
                linewidth=0.7,
                alpha=0.6,
                linestyle="-" if leg < 2 else "--",
                label=_NAMES[leg],
            )
        hips_cm = 100.0 * body.hip_x_m
        axis.plot([-hips_cm, hips_cm], [0.0, 0.0], "x", color="black", markersize=5)
        axis.set_aspect("equal")
        axis.set_title(task)
        axis.set_xlabel("forward (cm)")
        axis.set_ylabel("up (cm)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def torques_and_power(run: RunData) -> Figure | None:
    """Draw the root mean square torque per motor, and the power over a stride."""
    if not run.gaits:
        return None
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    body = run.config.robot.to_body()
    width = 0.8 / len(run.gaits)
    for number, (task, record) in enumerate(run.gaits.items()):
        part = settled(record)
        rms = np.sqrt(np.mean(np.square(part.torque_nm), axis=0))
        places = np.arange(len(rms)) + (number + 0.5) * width - 0.4
        left.bar(places, rms, width, color=TASK_COLOUR[task], label=task)
        _power(right, task, part, period_s(record))
    left.axhline(body.overheat_torque_nm, color=LIMIT_COLOUR, linestyle="--")
    left.set_xticks(
        range(8), [f"{name[0]}{name.split()[1][0]}{m}" for name in _NAMES for m in "12"]
    )
    left.set_xlabel("motor (front/back, left/right, 1/2)")
    left.set_ylabel("RMS torque (N m)")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)
    right.set_xlim(0.0, 1.0)
    right.set_ylim(bottom=0.0)
    right.set_xlabel("part of the front left leg's stride")
    right.set_ylabel("electrical power (W)")
    return figure


def _power(axis: Axes, task: str, part: GaitRecord, step_s: float) -> None:
    contact = part.contact()[:, REFERENCE_LEG]
    power_w: FloatArray = np.maximum(part.power_w, 0.0).sum(axis=1)
    mean, spread = stride_mean(power_w, touch_downs(without_chatter(contact, step_s)))
    share = np.arange(len(mean)) / len(mean)
    axis.plot(share, mean, color=TASK_COLOUR[task])
    low = np.maximum(mean - spread, 0.0)
    axis.fill_between(share, low, mean + spread, color=TASK_COLOUR[task], alpha=0.15, linewidth=0)

# SPDX-License-Identifier: MIT
"""Computes the metrics (`METRICS`) and curves (`CURVES`) of one run from its data.

A run contributes NaN where it has no data for a metric. Units are in `metric_names`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import CURRENT_TABLE_A, TORQUE_TABLE_NM
from walkhome.robot.mdp.rewards import TASKS
from walkhome.robot.report.run_data import RunData, series, task_progress
from walkhome.robot.storage.journal import component
from walkhome.sim.motor import WINDING_OHM

FloatArray = npt.NDArray[np.float64]

LAST_PART = 0.25  # part of the run, at its end, over which `return` and `multiplier` are averaged
# `minutes_to_walk`: speeds that count as walking, as means of so many episodes of each task.
WALK_M_S, TURN_RAD_S, WALK_WINDOW = 0.3, 0.4, 5
FEWEST = 3  # episodes averaged in `return` for a task that the last quarter doesn't contain
CURVE_POINTS = 49
CURVE_EPISODES = 3  # fewest episodes that a point of a curve averages, if there are so many
CURVE_WINDOW = 1.0 / 8.0  # width of a curve's moving mean, as a part of the run's length


def metrics_of(run: RunData, evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Compute every metric of one run; NaN for a metric that the run has no data for.

    Args:
        run: data of the run.
        evaluation: contents of its evaluation.json.
    """
    return {name: float(compute(run, evaluation)) for name, compute in _METRICS.items()}


def speed_on(evaluation: Mapping[str, Any], terrain: str) -> float:
    """Return the metric `speed` (m/s) on one terrain; NaN if it was not evaluated there."""
    tasks = evaluation.get("terrains", {}).get(terrain, {}).get("tasks", {})
    walks = [task["speed_m_s"] for name, task in tasks.items() if not TASKS[name].turns]
    return float(np.mean(walks)) if walks else math.nan


def curves_of(run: RunData, minutes: float) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Compute every curve of one run on the common grid of the study.

    Args:
        run: data of the run.
        minutes: planned length of the study's runs, robot minutes.

    Returns:
        (n,) robot minutes, and per curve (n,) values. Values are NaN before the first episode
        (moving means only) and after the end of a run that ended early.
    """
    grid = np.linspace(0.0, minutes, CURVE_POINTS)
    at = series(run.episodes, "robot_s") / 60.0
    width = CURVE_WINDOW * minutes
    steps = np.array([_length(run, episode) for episode in run.episodes])
    progress = np.array([task_progress(e, e["task"]) for e in run.episodes])
    multiplier = np.array([_largest(e) for e in run.episodes])
    fell = np.array([e.get("ended") == "fall" for e in run.episodes], dtype=np.float64)
    left = np.array([e.get("ended") == "exit" for e in run.episodes], dtype=np.float64)
    curves = {
        "return": _moving(grid, at, series(run.episodes, "return"), steps, width),
        "speed": _moving(grid, at, progress, np.ones_like(at), width),
        "multiplier": _moving(grid, at, multiplier, np.ones_like(at), width),
        "falls": np.array([fell[at <= t].sum() for t in grid]),
        "exits": np.array([left[at <= t].sum() for t in grid]),
    }
    over = grid > _minutes(run)
    return grid, {name: np.where(over, np.nan, values) for name, values in curves.items()}


def _moving(
    grid: FloatArray, at: FloatArray, total: FloatArray, count: FloatArray, width: float
) -> FloatArray:
    """Moving mean sum(total) / sum(count) over the episodes of the `width` minutes before each t.

    At least the last `CURVE_EPISODES` episodes are averaged, so that a pause (long stand-ups)
    leaves no gap in the curve.
    """
    out = np.full(len(grid), np.nan)
    for index, t in enumerate(grid):
        before = np.flatnonzero((at <= t) & np.isfinite(total))
        shown = max(CURVE_EPISODES, int((at[before] > t - width).sum()))
        if len(before):
            out[index] = total[before[-shown:]].sum() / count[before[-shown:]].sum()
    return out


def _largest(episode: Mapping[str, Any]) -> float:
    values = [value for value in episode.get("lambda") or [] if value is not None]
    return max(values) if values else math.nan


def _minutes(run: RunData, phase: str = "total") -> float:
    return float(run.summary["robot_minutes"][phase])


def _last(run: RunData) -> list[dict[str, Any]]:
    since_s = (1.0 - LAST_PART) * _minutes(run) * 60.0
    return [episode for episode in run.episodes if episode["robot_s"] >= since_s]


def _length(run: RunData, episode: Mapping[str, Any]) -> float:
    """Steps that a roll-out counts as; after a fall the missing steps count, with no reward."""
    if episode.get("ended") != "fall":
        return float(episode["steps"])
    whole = run.config.episode.length_s * run.config.control.rate_hz
    return max(float(episode["steps"]), whole)


def _return(run: RunData, _: Mapping[str, Any]) -> float:
    late, means = _last(run), []
    for task in run.config.tasks:
        # Averaged per task first: tasks are not equally frequent, and their rewards differ.
        own = [episode for episode in late if episode["task"] == task]
        own = own or [episode for episode in run.episodes if episode["task"] == task][-FEWEST:]
        steps = sum(_length(run, episode) for episode in own)
        means.append(float(series(own, "return").sum()) / steps if steps else math.nan)
    return float(np.mean(means))


def _multiplier(run: RunData, _: Mapping[str, Any]) -> float:
    values = [value for value in map(_largest, _last(run)) if math.isfinite(value)]
    return float(np.mean(values)) if values else math.nan


def _per_minute_of(
    count: Callable[[RunData], float], phase: str = "total"
) -> Callable[[RunData, Mapping[str, Any]], float]:
    return lambda run, _: count(run) / (_minutes(run, phase) or math.nan)


def _interventions(run: RunData) -> float:
    return float(run.summary["human_resets"]) + float(run.summary["status"] == "needs_help")


def _evaluated(run: RunData, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    own = evaluation.get("terrains", {}).get(run.config.terrain.name, {})
    return dict(own.get("tasks", {}))


def _speed(run: RunData, evaluation: Mapping[str, Any]) -> float:
    return speed_on(evaluation, run.config.terrain.name)


def _of_task(task: str, key: str) -> Callable[[RunData, Mapping[str, Any]], float]:
    def value(run: RunData, evaluation: Mapping[str, Any]) -> float:
        return float(_evaluated(run, evaluation).get(task, {}).get(key, math.nan))

    return value


def _over_tasks(key: str, walks: bool) -> Callable[[RunData, Mapping[str, Any]], float]:
    """Return a metric: the mean of an evaluated value over tasks (walking tasks only: `walks`)."""

    def mean(run: RunData, evaluation: Mapping[str, Any]) -> float:
        tasks = _evaluated(run, evaluation)
        values = [
            float(task.get(key, math.nan))
            for name, task in tasks.items()
            if not (walks and TASKS[name].turns)
        ]
        return float(np.mean(values)) if values else math.nan

    return mean


def _outside(run: RunData, _: Mapping[str, Any]) -> float:
    if not len(run.records):
        return math.nan
    room = run.config.workspace
    reach_m = np.abs(run.records["pose"][:, :2]) - [room.half_length_m, room.half_width_m]
    return 100.0 * float((reach_m > 0.0).any(axis=1).mean())


def _turn_rate(run: RunData, evaluation: Mapping[str, Any]) -> float:
    rates = [
        task["turn_rate_rad_s"] * TASKS[name].direction[2]
        for name, task in _evaluated(run, evaluation).items()
        if TASKS[name].turns
    ]
    return float(np.mean(rates)) if rates else math.nan


def _eval_falls(run: RunData, evaluation: Mapping[str, Any]) -> float:
    tasks = _evaluated(run, evaluation).values()
    episodes = sum(task["episodes"] for task in tasks)
    return sum(task["falls"] for task in tasks) / episodes if episodes else math.nan


def _beyond(*angles: str) -> Callable[[RunData, Mapping[str, Any]], float]:
    def share(run: RunData, _: Mapping[str, Any]) -> float:
        if not len(run.records):
            return math.nan
        bounds = run.config.constraint
        limits_rad = {"roll": bounds.roll_limit_rad, "pitch": bounds.pitch_limit_rad}
        over = [
            np.abs(component(run.records, "attitude", angle)) > limits_rad[angle]
            for angle in angles
        ]
        return 100.0 * float(np.any(over, axis=0).mean())

    return share


def _jitter(run: RunData, _: Mapping[str, Any]) -> float:
    if len(run.records) < 2:
        return math.nan
    torque = np.asarray(run.records["torque"], dtype=np.float64)
    together = np.diff(run.records["index"]) == 1  # consecutive steps of one roll-out
    change = np.diff(torque, axis=0)[together]
    return math.sqrt(float(np.mean(change**2))) if len(change) else math.nan


def _heat(run: RunData, _: Mapping[str, Any]) -> float:
    if not len(run.records):
        return math.nan
    torque = np.abs(np.asarray(run.records["torque"], dtype=np.float64))
    current = np.interp(torque, TORQUE_TABLE_NM, CURRENT_TABLE_A)
    return WINDING_OHM * float(np.mean(current**2))


def _duty(run: RunData, _: Mapping[str, Any]) -> float:
    return 100.0 * _minutes(run, "moving") / (_minutes(run) or math.nan)


def _minutes_to_walk(run: RunData, _: Mapping[str, Any]) -> float:
    recent: dict[str, list[float]] = {task: [] for task in run.config.tasks}
    for episode in run.episodes:
        recent[episode["task"]].append(task_progress(episode, episode["task"]))
        if all(
            len(values) >= WALK_WINDOW
            and np.mean(values[-WALK_WINDOW:]) >= (TURN_RAD_S if TASKS[task].turns else WALK_M_S)
            for task, values in recent.items()
        ):
            return float(episode["robot_s"]) / 60.0
    return run.config.run.minutes  # the planned length, even if the run ended early


_METRICS: dict[str, Callable[[RunData, Mapping[str, Any]], float]] = {
    "return": _return,
    "speed": _speed,
    "turn_rate": _turn_rate,
    "eval_falls": _eval_falls,
    "eval_return": _over_tasks("return_per_step", walks=False),
    "speed_forward": _of_task("forward", "speed_m_s"),
    "speed_backward": _of_task("backward", "speed_m_s"),
    "straight_speed": _over_tasks("straight_speed_m_s", walks=True),
    "falls": _per_minute_of(lambda run: float(run.summary["falls"])),
    "falls_moving": _per_minute_of(lambda run: float(run.summary["falls"]), "moving"),
    "exits": _per_minute_of(lambda run: float(run.summary["workspace_exits"])),
    "outside": _outside,
    "interventions": _per_minute_of(_interventions),
    "beyond_pitch": _beyond("pitch"),
    "beyond_roll": _beyond("roll"),
    "beyond": _beyond("roll", "pitch"),
    "jitter": _jitter,
    "heat": _heat,
    "duty": _duty,
    "minutes_to_walk": _minutes_to_walk,
    "robot_minutes": lambda run, _: _minutes(run),
    "moving_minutes": lambda run, _: _minutes(run, "moving"),
    "multiplier": _multiplier,
    "wall_minutes": lambda run, _: run.summary["wall_seconds"] / 60.0,
    "cpu_minutes": lambda run, _: run.summary["cpu_seconds"] / 60.0,
}

# SPDX-License-Identifier: MIT
"""Evaluates a run with deterministic roll-outs of every learned task, on one or more terrains.

    run folder  ->  `roll_out` per task, terrain and number  ->  `summary`  ->  JSON

Means come with 95 % bootstrap intervals over roll-outs, drawn with a fixed seed: the same run and
options give the same figures. `robot.evaluation.rollout` defines a roll-out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.config.resolve import ConfigError, with_terrain
from walkhome.robot.config.schema import Config
from walkhome.robot.control.period import Period, PeriodListener
from walkhome.robot.control.plant import Plant
from walkhome.robot.evaluation.gait_record import save_gait
from walkhome.robot.evaluation.intervals import Interval, mean_interval, proportion_interval
from walkhome.robot.evaluation.rollout import RollOut, roll_out
from walkhome.robot.storage.policies import checked_policies, policy_digest
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.video.film import FilmStrip, RollOutFilm, StepListener

# Measures with a mean and an interval; roll-outs whose value is None are left out of both.
_MEASURES: dict[str, Callable[[RollOut], float | None]] = {
    "speed_m_s": lambda out: out.result.speed_m_s * out.share,
    "straight_speed_m_s": lambda out: out.straight_speed_m_s,
    "return_per_step": lambda out: out.return_per_step,
    "turn_rate_rad_s": lambda out: out.result.turn_rate_rad_s * out.share,
    "drift_m": lambda out: out.drift_m,
    "torque_rms_nm": lambda out: out.record.torque_rms_nm,
    "torque_peak_nm": lambda out: out.record.torque_peak_nm,
    "power_w": lambda out: out.record.mean_power_w,
    "mechanical_power_w": lambda out: out.record.mean_mechanical_power_w,
    "cost_of_transport": lambda out: out.cost_of_transport,
}


@dataclass(frozen=True)
class EvaluationPlan:
    """Terrains, length and number of the roll-outs, and which films to make.

    Attributes:
        terrains: names or files of terrains; empty: the terrain of learning.
        episodes: number of roll-outs per task and terrain.
        seconds: length of a roll-out.
        push_n_s: impulse of the pushes at the trunk; 0: no pushes.
        film: save for the report pictures of each task's first roll-out, and the gait record of
            the first roll-out without a fall.
        video: film each task's first roll-out into RUN/report/<task>.mp4; the file name also has
            the terrain if it is not that of learning, and "pushed" if there are pushes.
    """

    terrains: Sequence[str] = ()
    episodes: int = 5
    seconds: float = 10.0
    push_n_s: float = 0.0
    film: bool = False
    video: bool = False


def evaluate(
    run: Path,
    plan: EvaluationPlan | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Evaluate the policies of a run in the twin.

    Args:
        run: path of a run folder with policy.safetensors.
        plan: terrains, roll-outs and films; None: the defaults of `EvaluationPlan`.
        progress: called with the current step's name and the completed share, 0 to 1.

    Returns:
        `{"tasks": {name: {"speed_m_s", "turn_rate_rad_s", "falls", "episodes", ...}}}`. With more
        than one terrain, `tasks` is of the first one, and `"terrains": {name: {task: {...}}}` has
        all.

    Raises:
        RunError: there is no run, or a file of it is damaged.
        PolicyInvalid: there is no policy, or it is for another body or observation.
        ConfigError: a terrain is unknown, or two have the same name.
    """
    plan = plan or EvaluationPlan()
    folder = RunFolder.open(run)
    learned = folder.config
    policies = checked_policies(folder.path / "policy.safetensors", learned)
    configs = [with_terrain(learned, terrain) for terrain in plan.terrains] or [learned]
    names = [config.terrain.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--terrain: two terrains are named {name!r}; rename one")
    n_tables = len(configs) * len(learned.tasks)
    work = _Evaluator(folder.path, learned.terrain.name, plan, policies, progress, n_tables)
    tables = {config.terrain.name: work.table(config) for config in configs}
    result = {
        "run": str(run),
        "terrain": configs[0].terrain.name,
        "learned_on": learned.terrain.name,
        "seconds": plan.seconds,
        "push_n_s": plan.push_n_s,
        "tasks": tables[configs[0].terrain.name],
    }
    if len(tables) > 1:
        result["terrains"] = tables
    if work.videos:
        result["videos"] = [str(path) for path in work.videos]
    return result


class _Evaluator:
    """Evaluates the tasks one by one, and saves pictures, films and gait records."""

    def __init__(
        self,
        folder: Path,
        learned_on: str,
        plan: EvaluationPlan,
        policies: dict[str, NumpyPolicy],
        progress: Callable[[str, float], None] | None,
        tables: int,
    ) -> None:
        self._report, self._plan, self._policies = folder / "report", plan, policies
        self._digest = policy_digest(folder / "policy.safetensors")
        self._progress, self._all = progress, tables * plan.episodes
        self._done, self._learned_on = 0, learned_on
        self.videos: list[Path] = []

    def table(self, config: Config) -> dict[str, dict[str, Any]]:
        """Evaluate every task on one terrain; return the summaries by task."""
        return {task: self._task(config, task) for task in config.tasks}

    def _task(self, config: Config, task: str) -> dict[str, Any]:
        outs = []
        for number in range(self._plan.episodes):
            if self._progress is not None:
                self._progress(f"{config.terrain.name}: {task}", self._done / self._all)
            outs.append(self._roll_out(config, task, number))
            self._done += 1
        if self._plan.film and self._plan.episodes:
            # A fall has no gait to show; if all roll-outs fell, the report notes it.
            number, out = next(
                ((number, out) for number, out in enumerate(outs) if not out.fell), (0, outs[0])
            )
            facts = {"task": task, "terrain": config.terrain.name, "roll_out": str(number)}
            facts |= {"ended": out.result.ended, "policy": self._digest}
            save_gait(self._report / "gait" / f"{task}.safetensors", out.record, facts)
        return summary(outs)

    def _roll_out(self, config: Config, task: str, number: int) -> RollOut:
        listeners: list[StepListener] = []

        def notify(period: Period) -> None:
            for listener in listeners:
                listener(period)

        def make(plant: Plant, task: str) -> PeriodListener:
            if self._plan.film and importlib.util.find_spec("PIL") is not None:
                frames = self._report / "frames"
                listeners.append(FilmStrip(plant.robot, frames, task, plant.clock.period_s))
            if self._plan.video:
                listeners.append(self._video(plant, config, task))
            return notify

        plan = self._plan
        first = make if number == 0 else None
        policy = self._policies[task]
        try:
            out = roll_out(config, task, policy, number, plan.seconds, plan.push_n_s, first)
        except BaseException:
            for listener in listeners:
                listener.discard()
            raise
        for listener in listeners:
            listener.close()
        return out

    def _video(self, plant: Plant, config: Config, task: str) -> StepListener:
        parts = [task]
        if len(self._plan.terrains) > 1 or config.terrain.name != self._learned_on:
            parts.append(config.terrain.name)
        if self._plan.push_n_s:
            parts.append("pushed")
        path = self._report / f"{'-'.join(parts)}.mp4"
        self.videos.append(path)
        return RollOutFilm(plant.robot, path, plant.clock.period_s)


def summary(outs: Sequence[RollOut]) -> dict[str, Any]:
    """Summarise the roll-outs of one task.

    Returns:
        Means by measure (None without values), their intervals under "interval95" as [low, high],
        counts of falls, workspace exits, episodes and pushes, and the mean constraint costs.
    """
    rng = np.random.default_rng(0)
    means: dict[str, float | None] = {}
    intervals: dict[str, Interval | None] = {}
    for name, measure in _MEASURES.items():
        values = [value for value in map(measure, outs) if value is not None]
        means[name] = float(np.mean(values)) if values else None
        intervals[name] = mean_interval(values, rng)
    falls = sum(out.fell for out in outs)
    intervals["fall_rate"] = proportion_interval(falls, len(outs))
    return {
        **means,
        "falls": falls,
        "exits": sum(out.left_workspace for out in outs),
        "episodes": len(outs),
        "pushes": sum(out.pushes for out in outs),
        "mean_costs": np.mean([out.result.mean_costs for out in outs], axis=0).tolist(),
        "interval95": intervals,
    }

# SPDX-License-Identifier: MIT
"""The log of a run: an event per episode, metrics every few seconds, the summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from walkhome.learning.client import LearnerClient
from walkhome.robot.control.episode import EpisodeResult
from walkhome.robot.control.plant import Plant
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.run_time import RunTime
from walkhome.robot.training.statistics import RunStatistics

METRICS_EVERY_S = 5.0
"""Robot time between two records of metrics."""


class TrainingLog:
    """Writes to the run folder.

    Args:
        terrain: name of the terrain, for the summary.
        seed: seed of the run, for the summary.
        run: the run folder.
        learner: its metrics and multipliers are logged.
        statistics: counts of the run; only read here.
        run_time: wall and processor time.

    Attributes:
        next_metric_s: robot time of the next record of metrics; part of a checkpoint.
    """

    def __init__(
        self,
        terrain: str,
        seed: int,
        run: RunFolder,
        learner: LearnerClient,
        statistics: RunStatistics,
        run_time: RunTime,
    ) -> None:
        self._terrain, self._seed = terrain, seed
        self._run, self._learner = run, learner
        self._statistics, self._run_time = statistics, run_time
        self.next_metric_s = 0.0

    def episode(self, result: EpisodeResult) -> None:
        """Log an episode that has ended and is counted already; metrics too if they are due."""
        metrics = self._learner.metrics()
        self._run.event(
            "episode",
            episode=self._statistics.episodes,
            task=result.task,
            robot_s=self._statistics.total_s,
            wall_s=self._run_time.wall_s,
            steps=result.steps,
            ended=result.ended,
            start=list(result.start),
            end=list(result.end),
            speed_m_s=result.speed_m_s,
            turn_rate_rad_s=result.turn_rate_rad_s,
            mean_costs=list(result.mean_costs),
            alpha=metrics[result.task]["alpha"],
            **{
                "return": result.undiscounted_return,
                "lambda": self._learner.multipliers(result.task).tolist(),
            },
        )
        if self._statistics.total_s >= self.next_metric_s:
            self.next_metric_s = self._statistics.total_s + METRICS_EVERY_S
            self._metric(metrics)

    def summary(self, status: str, plant: Plant) -> dict[str, Any]:
        """The content of summary.json, as the run stands now."""
        return {
            "status": status,
            "terrain": self._terrain,
            "seed": self._seed,
            "gradient_steps": self._learner.gradient_steps,
            "wall_seconds": self._run_time.wall_s,
            "cpu_seconds": self._run_time.cpu_s,
            **self._statistics.summary(),
            **self._learner_status(),
            **plant.summary(),
        }

    def _metric(self, tasks: Mapping[str, Any]) -> None:
        self._run.metric(
            robot_s=self._statistics.total_s,
            wall_s=self._run_time.wall_s,
            steps=self._statistics.steps,
            gradient_steps=self._learner.gradient_steps,
            tasks=tasks,
            moving_s=self._statistics.moving_s,
            standing_up_s=self._statistics.standing_up_s,
            waiting_s=self._statistics.waiting_s,
            **self._learner_status(),
        )

    def _learner_status(self) -> dict[str, Any]:
        """Lag of an asynchronous learner; empty for the others."""
        status = self._learner.status()
        return {} if status is None else {"learner": asdict(status)}

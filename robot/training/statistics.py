# SPDX-License-Identifier: MIT
"""Counts of a run: robot time, steps, falls, exits, speeds; and the summary made of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from walkhome.robot.control.episode import EpisodeResult
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.mdp.rewards import TASKS

SPEED_WINDOW = 10
"""Speeds are means over this many of the last episodes."""


@dataclass
class TaskStatistics:
    """Counts of one task; the lists hold the last `SPEED_WINDOW` episodes."""

    episodes: int = 0
    steps: int = 0
    falls: int = 0
    workspace_exits: int = 0
    speeds_m_s: deque[float] = field(default_factory=lambda: deque(maxlen=SPEED_WINDOW))
    turn_rates_rad_s: deque[float] = field(default_factory=lambda: deque(maxlen=SPEED_WINDOW))

    @property
    def speed_m_s(self) -> float:
        """Mean over the last episodes; 0 before the first."""
        return sum(self.speeds_m_s) / max(1, len(self.speeds_m_s))

    @property
    def turn_rate_rad_s(self) -> float:
        """Mean over the last episodes; 0 before the first."""
        return sum(self.turn_rates_rad_s) / max(1, len(self.turn_rates_rad_s))


@dataclass
class RunStatistics:
    """Counts of a run. Times are robot time.

    Attributes:
        tasks: counts by task.
        moving_s: time in episodes.
        standing_up_s: time in the scripted stand-up.
        waiting_s: time with the motors off: pauses, arming, waiting for a person.
        stand_ups_tried: attempts to stand up.
        stand_ups_failed: failed attempts.
        human_resets: how often a person helped.
        strays: how often the robot left the workspace between episodes, standing up.
        inside: whether the robot was in the workspace at the last check.
    """

    tasks: dict[str, TaskStatistics]
    moving_s: float = 0.0
    standing_up_s: float = 0.0
    waiting_s: float = 0.0
    stand_ups_tried: int = 0
    stand_ups_failed: int = 0
    human_resets: int = 0
    strays: int = 0
    inside: bool = True

    @classmethod
    def of(cls, tasks: tuple[str, ...]) -> RunStatistics:
        """Counts of zero for some tasks."""
        return cls({name: TaskStatistics() for name in tasks})

    @property
    def total_s(self) -> float:
        """Robot time: every second the robot was switched on for learning."""
        return self.moving_s + self.standing_up_s + self.waiting_s

    @property
    def steps(self) -> int:
        """Number of control steps in episodes."""
        return sum(task.steps for task in self.tasks.values())

    @property
    def episodes(self) -> int:
        """Number of finished episodes."""
        return sum(task.episodes for task in self.tasks.values())

    @property
    def falls(self) -> int:
        """Number of episodes that ended in a fall."""
        return sum(task.falls for task in self.tasks.values())

    @property
    def workspace_exits(self) -> int:
        """How often the robot left the workspace, in an episode or standing up after one."""
        return self.strays + sum(task.workspace_exits for task in self.tasks.values())

    @property
    def score(self) -> float:
        """How well the robot walks now: mean over tasks of the progress in the last episodes.

        A task's progress is its speed, m/s, or its turn rate, rad/s. Minus infinity while a task
        has fewer than `SPEED_WINDOW` episodes.
        """
        if any(len(task.speeds_m_s) < SPEED_WINDOW for task in self.tasks.values()):
            return -math.inf
        return sum(
            task.speed_m_s + TASKS[name].direction[2] * task.turn_rate_rad_s
            for name, task in self.tasks.items()
        ) / len(self.tasks)

    def state_dict(self) -> dict[str, Any]:
        """All counts, in types that JSON has."""
        state = asdict(self)
        for task in state["tasks"].values():
            for window in ("speeds_m_s", "turn_rates_rad_s"):
                task[window] = list(task[window])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: it belongs to other tasks.
        """
        for name, task in self.tasks.items():
            saved = dict(state["tasks"][name])
            for window in (task.speeds_m_s, task.turn_rates_rad_s):
                window.clear()
            task.speeds_m_s.extend(saved.pop("speeds_m_s"))
            task.turn_rates_rad_s.extend(saved.pop("turn_rates_rad_s"))
            for key, value in saved.items():
                setattr(task, key, value)
        for known in fields(self):
            if known.name != "tasks":
                setattr(self, known.name, state[known.name])

    def experience(self) -> dict[str, int]:
        """Number of control steps per task, for the scheduler."""
        return {name: task.steps for name, task in self.tasks.items()}

    def count(self, period: Period) -> None:
        """Add a control period to the robot time, and a step of an episode to its task."""
        if period.step is not None:
            self.moving_s += period.elapsed_s
            self.tasks[period.step.task].steps += 1
        elif period.phase is Phase.STAND_UP:
            self.standing_up_s += period.elapsed_s
        else:
            self.waiting_s += period.elapsed_s

    def see(self, inside: bool, standing_up: bool) -> None:
        """Note whether the robot is in the workspace, after a stand-up or an episode."""
        self.strays += standing_up and self.inside and not inside
        self.inside = inside

    def add(self, result: EpisodeResult) -> None:
        """Count an episode that has ended; its steps were counted as they happened."""
        task = self.tasks[result.task]
        task.episodes += 1
        task.falls += result.ended == "fall"
        task.workspace_exits += result.ended == "exit"
        task.speeds_m_s.append(result.speed_m_s)
        task.turn_rates_rad_s.append(result.turn_rate_rad_s)

    def summary(self) -> dict[str, object]:
        """The counts of summary.json."""
        return {
            "steps": self.steps,
            "robot_minutes": {
                "total": self.total_s / 60.0,
                "moving": self.moving_s / 60.0,
                "standing_up": self.standing_up_s / 60.0,
                "waiting": self.waiting_s / 60.0,
            },
            "human_resets": self.human_resets,
            "falls": self.falls,
            "workspace_exits": self.workspace_exits,
            "exits_while_standing_up": self.strays,
            "stand_ups": {"tried": self.stand_ups_tried, "failed": self.stand_ups_failed},
            "tasks": {
                name: {
                    "episodes": task.episodes,
                    "steps": task.steps,
                    "falls": task.falls,
                    "workspace_exits": task.workspace_exits,
                    "speed_m_s": task.speed_m_s,
                    "turn_rate_rad_s": task.turn_rate_rad_s,
                }
                for name, task in self.tasks.items()
            },
        }

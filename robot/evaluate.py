# SPDX-License-Identifier: MIT
"""How well does it walk: deterministic roll-outs of every learned task, each on a fresh twin.

A roll-out starts where a person would put the robot down to watch it: at the workspace's edge, any
heading, the task's direction leading across. It stands up by itself, then walks; a fall ends it,
and its speed still counts over the whole time. Nothing is learned.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.robot import RobotError
from hardware.rotation import quaternion, wrap_to_pi
from learning.policy import NumpyPolicy, PolicyInvalid, load_policies
from robot.config import Config, with_terrain
from robot.episode import Episodes
from robot.film import FilmStrip
from robot.learning_setup import observation_layout, policy_metadata
from robot.observation import Observer
from robot.reset import Resetter
from robot.rig import Actuator, Rig, make_twin
from robot.run import RunFolder
from robot.tally import EpisodeResult
from robot.tasks import TASKS

SEED_OFFSET = 1_000_000  # evaluation never repeats the noise of a training run


@dataclass(frozen=True)
class RollOut:
    """One evaluation roll-out and its length in full."""

    result: EpisodeResult
    seconds: float
    period_s: float

    @property
    def share(self) -> float:
        """Part of the time that it lasted; less than 1 after a fall."""
        return min(1.0, self.result.steps * self.period_s / self.seconds)

    @property
    def straight_speed_m_s(self) -> float:
        """Net way along the task's direction at the start, over the whole time."""
        (x0, y0, yaw), (x1, y1, _) = self.result.start, self.result.end
        heading = yaw + TASKS[self.result.task].heading_rad
        way = (x1 - x0) * math.cos(heading) + (y1 - y0) * math.sin(heading)
        return 0.0 if TASKS[self.result.task].turns else way / self.seconds

    @property
    def drift_m(self) -> float:
        """How far it strayed: sideways when walking, from the spot when turning."""
        (x0, y0, yaw), (x1, y1, _) = self.result.start, self.result.end
        if TASKS[self.result.task].turns:
            return math.hypot(x1 - x0, y1 - y0)
        heading = yaw + TASKS[self.result.task].heading_rad
        return abs((y1 - y0) * math.cos(heading) - (x1 - x0) * math.sin(heading))


def evaluate(
    run: Path,
    terrain: str | None = None,
    episodes: int = 5,
    seconds: float = 10.0,
    film: bool = False,
) -> dict[str, Any]:
    """Evaluate a run's policies.

    Args:
        run: a run folder with policy.safetensors.
        terrain: another terrain than the one learned on.
        episodes: roll-outs per task.
        seconds: length of each.
        film: leave pictures of each task's first roll-out for the report, if Pillow is there.

    Returns:
        `{"tasks": {name: {"speed_m_s", "turn_rate_rad_s", "falls", "episodes", ...}}}`.

    Raises:
        RunError: no run there.
        PolicyInvalid: no policy, or one for another body or observation.
        ConfigError: unknown terrain.
    """
    folder = RunFolder.open(run)
    config = folder.config
    policies = checked_policies(folder.path / "policy.safetensors", config)
    if terrain is not None:
        config = with_terrain(config, terrain)
    tasks = {}
    for task in config.tasks:
        frames = folder.path / "report" / "frames" if film else None
        outs = [
            _roll_out(config, task, policies[task], number, seconds, None if number else frames)
            for number in range(episodes)
        ]
        tasks[task] = _summary(outs)
    return {
        "run": str(run),
        "terrain": config.terrain.name,
        "learned_on": folder.config.terrain.name,
        "seconds": seconds,
        "tasks": tasks,
    }


def checked_policies(path: Path, config: Config) -> dict[str, NumpyPolicy]:
    """The policies of a run, if they fit its configuration.

    Raises:
        PolicyInvalid: no file, a damaged one, a missing task, another body or observation.
    """
    if not path.is_file():
        raise PolicyInvalid(
            f"{path}: there is no policy yet; the run wrote no checkpoint. Learn again, or longer"
        )
    policies, metadata = load_policies(path)
    expected = policy_metadata(config)
    for key in ("observation", "action", "rate_hz", "body"):
        if metadata.get(key) != expected[key]:
            raise PolicyInvalid(
                f"{path}: its {key} is {metadata.get(key)}, the configuration's {expected[key]}; "
                "use the configuration it was learned with"
            )
    missing = [task for task in config.tasks if task not in policies]
    if missing:
        raise PolicyInvalid(f"{path}: no policy for {', '.join(missing)}; learn those tasks first")
    size = observation_layout(config).size
    for task, policy in policies.items():
        if policy.observation_size != size:
            raise PolicyInvalid(
                f"{path}: task {task!r} wants {policy.observation_size} numbers, the observation "
                f"has {size}"
            )
    return policies


def place_at_edge(rig: Rig, config: Config, task: str, rng: np.random.Generator) -> None:
    """Put a fresh twin down so that the task leads across the workspace, at a random heading."""
    yaw = float(rng.uniform(-math.pi, math.pi))
    across = wrap_to_pi(yaw + TASKS[task].heading_rad)
    reach = 0.0 if TASKS[task].turns else 0.9
    w = config.workspace
    from sim.twin import START_HEIGHT_M, PyBulletRobot

    twin = rig.robot
    if not isinstance(twin, PyBulletRobot):
        raise RobotError("only the twin can be placed; put the robot down by hand")
    place = [
        -reach * min(w.half_length_m, w.half_width_m) * math.cos(across),
        -reach * min(w.half_length_m, w.half_width_m) * math.sin(across),
        START_HEIGHT_M + 0.03,
    ]
    twin.place(np.array(place), quaternion(0.0, 0.0, yaw), None)


def _roll_out(
    config: Config,
    task: str,
    policy: NumpyPolicy,
    number: int,
    seconds: float,
    frames: Path | None,
) -> RollOut:
    seed = SEED_OFFSET + config.run.seed + number
    rig = make_twin(config, seed)
    try:
        place_at_edge(rig, config, task, np.random.default_rng([seed, 3]))
        actuator = Actuator(rig, config)
        if not Resetter(config, rig, actuator).stand_up().ok:
            raise RobotError(f"evaluation of {task!r}: the twin can't stand up on this terrain")
        observer = Observer(observation_layout(config), rig.robot.body)
        episodes = Episodes(config, config.tasks, rig, actuator, observer)
        strip = _film_strip(rig, frames, task)
        result = episodes.run(
            task,
            lambda observation: policy.act(observation, deterministic=True),
            on_step=strip or (lambda step: None),
            length_s=seconds,
            fenced=False,
        )
        if strip is not None:
            strip.close()
        return RollOut(result, seconds, rig.clock.period_s)
    finally:
        rig.robot.close()


def _film_strip(rig: Rig, frames: Path | None, task: str) -> FilmStrip | None:
    """The camera of a roll-out; None if nobody asked, or nothing can write pictures."""
    if frames is None or importlib.util.find_spec("PIL") is None:
        return None
    return FilmStrip(rig.robot, frames, task, rig.clock.period_s)


def _summary(outs: list[RollOut]) -> dict[str, Any]:
    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return {
        "speed_m_s": mean([out.result.speed_m_s * out.share for out in outs]),
        "straight_speed_m_s": mean([out.straight_speed_m_s for out in outs]),
        "turn_rate_rad_s": mean([out.result.turn_rate_rad_s * out.share for out in outs]),
        "drift_m": mean([out.drift_m for out in outs]),
        "falls": sum(out.result.ended == "fall" for out in outs),
        "episodes": len(outs),
        "mean_costs": np.mean([out.result.mean_costs for out in outs], axis=0).tolist(),
    }

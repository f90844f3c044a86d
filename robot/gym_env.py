# SPDX-License-Identifier: MIT
"""`walkhome/Walk-v0`: the twin as a Gymnasium environment, for other people's learners.

    import gymnasium, walkhome.robot.gym_env
    env = gymnasium.make("walkhome/Walk-v0", terrain="mattress", task="forward")

A step is a control period and an episode is a roll-out, made by the code that `robot learn` runs
(`robot.control.episode`, `robot.control.reset`, `robot.training.episode_start`): same observation,
action, reward, endings. With
`task="scheduled"` and the same actions it is the loop, step for step. `reset()` lets the robot
stand up by its own motors from where the last episode left it, which takes robot time (counted in
`info`); only `reset(seed=...)` puts a new one down. See docs/gymnasium.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from walkhome.robot.config.messages import nearest
from walkhome.robot.config.resolve import ConfigError, resolve_config
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import OPPOSITE
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.episode import Episodes, PolicyEpisode
from walkhome.robot.control.period import Period, PeriodListener
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.reset import StandUpRoutine
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.mdp.observation import N_ACTIONS, observation_layout
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.training.episode_start import choose_start
from walkhome.robot.training.statistics import RunStatistics
from walkhome.sim.render import TwinCamera
from walkhome.sim.twin import PyBulletRobot

ID = "walkhome/Walk-v0"
SCHEDULED = "scheduled"
SEEDS = 2**31  # of `run.seed`

Array = npt.NDArray[np.float32]
Info = dict[str, Any]


class WalkEnv(gymnasium.Env[Array, Array]):
    """One robot in its workspace.

    Observations are (126,) float32 of about unit range (`robot.mdp.observation`), actions (8,)
    float32 in [-1, 1]. A fall terminates; the time limit and the workspace's edge truncate.

    Args:
        terrain: a name from configs/terrains, or a YAML file.
        task: `forward`, `backward`, `left` or `right`: always that; a robot that walked out of the
            workspace is carried back to its middle, which counts as a person's help. `scheduled`:
            whichever leads home, as in `robot learn`; `info["task"]` tells which.
        settings: dotted key -> value, for any other key of `robot config show`.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: something in these can't be used.
        TerrainError: PyBullet can't build the terrain.

    Attributes:
        config: the resolved configuration.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 - Gymnasium's own

    def __init__(
        self,
        terrain: str = "flat",
        task: str = "forward",
        settings: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.config = _config(terrain, task, settings or {})
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode: {render_mode!r} is not known; use rgb_array or None")
        self.render_mode = render_mode
        n = observation_layout(self.config.control).size
        self.observation_space = spaces.Box(-np.inf, np.inf, (n,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (N_ACTIONS,), np.float32)
        self.metadata = {**self.metadata, "render_fps": self.config.control.rate_hz}
        self._statistics = RunStatistics.of(self.config.tasks)
        self._world: _World | None = None
        self._now: PolicyEpisode | None = None
        self._camera: TwinCamera | None = None
        self._action = np.zeros(N_ACTIONS)
        self._newest: Period | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, Info]:
        """Stand up and begin the next episode.

        Args:
            seed: put a new robot down in the middle first, and count from zero; without one, only
                where there is no robot yet.
            options: nothing is done with them.

        Returns:
            The first observation, and what is counted so far.
        """
        super().reset(seed=seed)
        if seed is not None or self._world is None:
            self._statistics = RunStatistics.of(self.config.tasks)
            self._put_down(int(self.np_random.integers(SEEDS)) if seed is None else seed % SEEDS)
        world = self._stand_up()
        start = choose_start(
            world.config.ablation.scheduler, world.plant, world.workspace, self._statistics
        )
        self._now = world.episodes.episode(start.task, lambda observation: self._action)
        world.cycle.start(self._now)
        return self._now.observation.astype(np.float32), self._info(self._now)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, Info]:
        """One control period.

        Args:
            action: (8,); what lies beyond [-1, 1] counts as its edge.

        Returns:
            Observation, reward, whether it fell, whether it was cut short, and `info`: what is
            counted, `costs` (attitude beyond its limits, rad), `rewards` per task, `ended`
            (`fall`, `exit`, `timeout` or empty), after the last step `speed_m_s` and
            `turn_rate_rad_s`.

        Raises:
            RuntimeError: the episode is over.
            ValueError: the action is not eight finite numbers.
        """
        now = self._now
        if now is None or now.ended or self._world is None:
            raise RuntimeError("the episode is over: call reset() before step()")
        asked = np.asarray(action, dtype=np.float64)
        if asked.shape != (N_ACTIONS,) or not np.isfinite(asked).all():
            raise ValueError(f"an action is {N_ACTIONS} finite numbers, not {action!r}")
        self._action = np.clip(asked, -1.0, 1.0)
        self._world.cycle.advance()
        assert self._newest is not None
        period, step = self._newest, self._newest.step
        assert step is not None
        if now.ended:
            self._statistics.add(now.result())
            inside = self._world.workspace.contains(period.pose)
            self._statistics.see(inside, standing_up=False)
        tasks = self.config.tasks
        info = {
            **self._info(now),
            "ended": step.ended,
            "costs": step.costs,
            "rewards": dict(zip(tasks, map(float, step.rewards), strict=True)),
        }
        reward = float(step.rewards[tasks.index(step.task)])
        observation = step.next_observation.astype(np.float32)
        return observation, reward, step.done, bool(step.ended) and not step.done, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """(480, 640, 3) RGB of the robot as it is now; None unless `render_mode` asks for it."""
        if self.render_mode is None or self._world is None:
            return None
        if self._camera is None:
            twin = self._world.plant.robot
            assert isinstance(twin, PyBulletRobot)
            self._camera = TwinCamera(twin)
        return self._camera.shot()

    def close(self) -> None:
        """End the twin; safe to call twice."""
        if self._camera is not None:
            self._camera.close()
        if self._world is not None:
            self._world.plant.robot.close()
        self._camera = self._world = self._now = None

    def _put_down(self, seed: int) -> None:
        self.close()
        config = self.config
        config = config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})})
        self._world = _World.of(config, self._on_period)

    def _stand_up(self) -> _World:
        """On its feet by its own motors; where even pauses don't help, a person changes robots."""
        while True:
            world = self._world
            assert world is not None
            outcome = world.routine.stand_up()
            self._statistics.stand_ups_tried += outcome.attempts
            self._statistics.stand_ups_failed += outcome.failed
            if outcome.ok:
                return world
            self._statistics.human_resets += 1
            self._put_down((world.config.run.seed + 1) % SEEDS)

    def _on_period(self, period: Period) -> None:
        self._newest = period
        self._statistics.count(period)

    def _info(self, now: PolicyEpisode) -> Info:
        statistics = self._statistics
        info: Info = {
            "task": now.task,
            "robot_s": statistics.total_s,
            "moving_s": statistics.moving_s,
            "standing_up_s": statistics.standing_up_s,
            "waiting_s": statistics.waiting_s,
            "falls": statistics.falls,
            "workspace_exits": statistics.workspace_exits,
            "human_resets": statistics.human_resets,
        }
        if now.ended:
            result = now.result()
            info["speed_m_s"] = result.speed_m_s
            info["turn_rate_rad_s"] = result.turn_rate_rad_s
        return info


@dataclass(frozen=True)
class _World:
    """A robot that was put down, and what drives it."""

    config: Config
    plant: Plant
    workspace: Workspace
    cycle: ControlCycle
    episodes: Episodes
    routine: StandUpRoutine

    @classmethod
    def of(cls, config: Config, listener: PeriodListener) -> _World:
        plant = make_twin(config, config.run.seed)
        cycle = ControlCycle(plant, config.episode, listener)
        return cls(
            config,
            plant,
            Workspace.of(config.workspace),
            cycle,
            Episodes.of(config, plant),
            StandUpRoutine.of(config, cycle),
        )


def _config(terrain: str, task: str, settings: Mapping[str, Any]) -> Config:
    if task not in (*OPPOSITE, SCHEDULED):
        near = nearest(task, (*OPPOSITE, SCHEDULED))
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(
            f"task: {task!r} is not known; use {', '.join(OPPOSITE)} or {SCHEDULED}{hint}"
        )
    # One task alone can't walk home, and a mirrored turn would be another task.
    alone = {"tasks": [task], "ablation.scheduler": False, "learning.symmetry": "none"}
    flags = {"terrain": terrain, **({} if task == SCHEDULED else alone)}
    layers = [(settings, "settings", Path())]
    return resolve_config(layers=layers, flags=flags).config


# Where several modules of one process make it, as vector environments do, the first one counts.
if ID not in gymnasium.registry:
    gymnasium.register(id=ID, entry_point="walkhome.robot.gym_env:WalkEnv")

# SPDX-License-Identifier: MIT
"""`walkhome/Walk-v0`: the twin as a Gymnasium environment, for other learners.

    import gymnasium, walkhome.robot.gym_env
    env = gymnasium.make("walkhome/Walk-v0", terrain="mattress", task="forward")

A step is a control period and an episode is a roll-out, made by the code that `robot learn` runs
(`robot.control.episode`, `robot.control.reset`, `robot.training.episode_start`): same observations,
actions, rewards and endings. With `task="scheduled"` and the same actions it equals `robot learn`
step for step. `reset()` lets the robot stand up by its own motors where the last episode has left
it; that robot time is counted in `info`. Only `reset(seed=...)` puts down a new robot. See
docs/gymnasium.md.
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
SEEDS = 2**31  # number of values of `run.seed`

Array = npt.NDArray[np.float32]
Info = dict[str, Any]


class WalkEnv(gymnasium.Env[Array, Array]):
    """One robot in its workspace.

    Observations are (126,) float32 of about unit range (`robot.mdp.observation`), actions (8,)
    float32 in [-1, 1]. A fall terminates; the time limit and the workspace's edge truncate.

    Args:
        terrain: a name from configs/terrains, or the path of a YAML file.
        task: `forward`, `backward`, `left` or `right` practises that task only; a robot that has
            left the workspace is carried back to its middle, which counts as a human reset.
            `scheduled` chooses the task that leads home, as `robot learn` does; `info["task"]`
            names it.
        settings: values by dotted key, for any other key of `robot config show`.
        render_mode: `rgb_array`, or None.

    Attributes:
        config: the resolved configuration.

    Raises:
        ConfigError: an argument is invalid.
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
            seed: seed of a new robot, which is put down in the middle of the workspace with all
                counts at zero; None keeps the present robot, if there is one.
            options: ignored.

        Returns:
            The first observation, (126,) float32, and the counts so far.

        Raises:
            TerrainError: PyBullet can't build the terrain.
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
        """Run one control period.

        Args:
            action: (8,) four swings, then four extensions; clipped to [-1, 1].

        Returns:
            Observation (126,) float32, reward, terminated (a fall), truncated, and `info`: the
            counts, `costs` (attitude beyond its limits, rad, ordered as `mdp.costs.NAMES`),
            `rewards` by task, `ended` (`fall`, `exit`, `timeout` or empty), and after the last
            step `speed_m_s` and `turn_rate_rad_s`.

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
        """Return an image of the robot, (480, 640, 3) uint8 RGB; None without `rgb_array`."""
        if self.render_mode is None or self._world is None:
            return None
        if self._camera is None:
            twin = self._world.plant.robot
            assert isinstance(twin, PyBulletRobot)
            self._camera = TwinCamera(twin)
        return self._camera.shot()

    def close(self) -> None:
        """Close the twin and its camera; safe to call twice."""
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
        """Let the robot stand up; replace one that gives up, which counts as a human reset."""
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
    """A robot that was put down, and the objects that drive it."""

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
    # A single task can't lead home, and the mirror image of a turn would be another task.
    single = {"tasks": [task], "ablation.scheduler": False, "learning.symmetry": "none"}
    flags = {"terrain": terrain, **({} if task == SCHEDULED else single)}
    layers = [(settings, "settings", Path())]
    return resolve_config(layers=layers, flags=flags).config


# Another import of this module under another name, as by a vector environment, must not register
# it again.
if ID not in gymnasium.registry:
    gymnasium.register(id=ID, entry_point="walkhome.robot.gym_env:WalkEnv")

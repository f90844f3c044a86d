# SPDX-License-Identifier: MIT
"""One evaluation roll-out on a fresh twin, and its measures: speed, drift, power, falls.

A roll-out starts where a person would put the robot down to watch it: at the workspace's edge, any
heading, the task's direction leading across. It stands up by itself, then walks; a fall ends it,
and its speed still counts over the whole time. Nothing is learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from walkhome.hardware.constants import GRAVITY_M_S2
from walkhome.hardware.robot import RobotError
from walkhome.hardware.rotation import quaternion, wrap_to_pi
from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.config.schema import Config
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.episode import EpisodeResult, Episodes
from walkhome.robot.control.period import Period, PeriodListener
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.reset import StandUpRoutine
from walkhome.robot.control.twin_plant import TwinPlant, make_twin_robot
from walkhome.robot.evaluation.gait_record import GaitRecord
from walkhome.robot.evaluation.instrumented_clock import InstrumentedClock, Pushes
from walkhome.robot.mdp.rewards import TASKS
from walkhome.robot.mdp.workspace import Workspace
from walkhome.sim.instruments import mass_kg
from walkhome.sim.twin import START_HEIGHT_M, PyBulletRobot

# Evaluation never repeats the noise of a training run, nor one run's evaluation another's.
SEED_OFFSET, SEEDS_PER_RUN = 1_000_000, 10_000
SLOWEST_M_S = 0.05  # below, a cost of transport means nothing


@dataclass(frozen=True)
class RollOut:
    """One evaluation roll-out and its length in full.

    Attributes:
        result: as an episode's.
        seconds: how long it should have lasted.
        period_s: of a step.
        record: what legs and motors did.
        left_workspace: whether it was outside at any time.
        mass_kg: of the robot.
        pushes: that it got.
    """

    result: EpisodeResult
    seconds: float
    period_s: float
    record: GaitRecord
    left_workspace: bool
    mass_kg: float
    pushes: int

    @property
    def fell(self) -> bool:
        """Whether it ended in a fall."""
        return self.result.ended == "fall"

    @property
    def share(self) -> float:
        """Part of the time that it lasted; less than 1 after a fall."""
        return min(1.0, self.result.steps * self.period_s / self.seconds)

    @property
    def return_per_step(self) -> float:
        """Reward per step of the whole time: what comes after a fall is without reward."""
        return self.result.undiscounted_return / max(1, self.result.steps) * self.share

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

    @property
    def cost_of_transport(self) -> float | None:
        """Electrical power / (weight x speed), no unit; None for turns and for standing about.

        Speed and power are means over the part that it walked, before a fall.
        """
        speed_m_s = self.result.speed_m_s
        if TASKS[self.result.task].turns or speed_m_s < SLOWEST_M_S:
            return None
        return self.record.mean_power_w / (self.mass_kg * GRAVITY_M_S2 * speed_m_s)


def roll_out(
    config: Config,
    task: str,
    policy: NumpyPolicy,
    number: int,
    seconds: float,
    push_n_s: float = 0.0,
    make_listener: Callable[[Plant, str], PeriodListener] | None = None,
) -> RollOut:
    """One deterministic roll-out.

    Args:
        config: configuration of the run, perhaps on another terrain.
        task: name of the task.
        policy: chooses the actions.
        number: number of the roll-out; seeds heading, noise and pushes.
        seconds: length of the roll-out.
        push_n_s: impulse of each push at the trunk, N s; 0: no pushes.
        make_listener: makes a listener for the roll-out's control periods, as a camera.

    Raises:
        RobotError: the twin can't stand up.
    """
    seed = SEED_OFFSET + SEEDS_PER_RUN * config.run.seed + number
    twin = make_twin_robot(config, seed)
    try:
        place_at_edge(twin, config, task, np.random.default_rng([seed, 3]))
        pushes = Pushes(push_n_s, np.random.default_rng([seed, 4])) if push_n_s else None
        clock = InstrumentedClock(twin, config.control.rate_hz, pushes)
        plant = TwinPlant(twin, twin, clock, config.board.command_gap_s)
        listen = make_listener(plant, task) if make_listener is not None else None
        workspace, outside = Workspace.of(config.workspace), False

        def on_period(period: Period) -> None:
            nonlocal outside
            if period.step is None:
                return
            outside = outside or not workspace.contains(period.pose)
            if listen is not None:
                listen(period)

        cycle = ControlCycle(plant, config.episode, on_period)
        if not StandUpRoutine.of(config, cycle).stand_up().ok:
            raise RobotError(f"evaluation of {task!r}: the twin can't stand up on this terrain")
        clock.start()
        episode = Episodes.of(config, plant).episode(
            task,
            lambda observation: policy.act(observation, deterministic=True),
            length_s=seconds,
            fenced=False,
        )
        result: EpisodeResult = cycle.run(episode)
        count = pushes.count if pushes is not None else 0
        record, mass = clock.record(), mass_kg(twin)
        return RollOut(result, seconds, clock.period_s, record, outside, mass, count)
    finally:
        twin.close()


def place_at_edge(twin: PyBulletRobot, config: Config, task: str, rng: np.random.Generator) -> None:
    """Put a fresh twin down so that the task leads across the workspace, at a random heading."""
    yaw = float(rng.uniform(-math.pi, math.pi))
    across = wrap_to_pi(yaw + TASKS[task].heading_rad)
    reach = 0.0 if TASKS[task].turns else 0.9
    w = config.workspace
    place = [
        -reach * min(w.half_length_m, w.half_width_m) * math.cos(across),
        -reach * min(w.half_length_m, w.half_width_m) * math.sin(across),
        START_HEIGHT_M + 0.03,
    ]
    twin.place(np.array(place), quaternion(yaw_rad=yaw), None)

# SPDX-License-Identifier: MIT
"""One evaluation roll-out on a fresh twin, and its measures: speed, drift, power, falls.

    place at the workspace's edge --> stand up --> deterministic policy --> `RollOut`

The robot starts at a random heading, with the task's direction leading across the workspace, and
may leave it. A fall ends the roll-out; speed, share and return still count over its whole time.
Nothing is learned.
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

# Seeds that no training run and no other run's evaluation uses.
SEED_OFFSET, SEEDS_PER_RUN = 1_000_000, 10_000
SLOWEST_M_S = 0.05
"""Slower walks have no cost of transport: it would divide by about zero."""


@dataclass(frozen=True)
class RollOut:
    """Result of one evaluation roll-out.

    Attributes:
        result: statistics up to its end, as of an episode.
        seconds: its planned length; a fall ends it earlier.
        period_s: control period.
        record: forces, torques and power at every physics step.
        left_workspace: whether the robot was outside of the workspace at any time.
        mass_kg: mass of the robot.
        pushes: number of pushes that it received.
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
        """Whether the roll-out ended in a fall."""
        return self.result.ended == "fall"

    @property
    def share(self) -> float:
        """Share of the planned time that it lasted, in (0, 1]; less than 1 after a fall."""
        return min(1.0, self.result.steps * self.period_s / self.seconds)

    @property
    def return_per_step(self) -> float:
        """Mean reward per step of the planned time; steps after a fall count as 0."""
        return self.result.undiscounted_return / max(1, self.result.steps) * self.share

    @property
    def straight_speed_m_s(self) -> float:
        """Mean speed along the task's initial direction over the planned time; 0 for turns."""
        (x0, y0, yaw), (x1, y1, _) = self.result.start, self.result.end
        heading = yaw + TASKS[self.result.task].heading_rad
        way = (x1 - x0) * math.cos(heading) + (y1 - y0) * math.sin(heading)
        return 0.0 if TASKS[self.result.task].turns else way / self.seconds

    @property
    def drift_m(self) -> float:
        """Deviation at the end: sideways for walking, distance from the start for turning."""
        (x0, y0, yaw), (x1, y1, _) = self.result.start, self.result.end
        if TASKS[self.result.task].turns:
            return math.hypot(x1 - x0, y1 - y0)
        heading = yaw + TASKS[self.result.task].heading_rad
        return abs((y1 - y0) * math.cos(heading) - (x1 - x0) * math.sin(heading))

    @property
    def cost_of_transport(self) -> float | None:
        """Electrical power / (weight x speed), dimensionless; None for turns and slow walks.

        Speed and power are means up to the end or the fall.
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
    """Run one roll-out with a deterministic policy.

    Args:
        config: configuration of the run, perhaps on another terrain.
        task: name of the task.
        policy: chooses the actions.
        number: number of the roll-out; seeds heading, noise and pushes.
        seconds: planned length of the roll-out.
        push_n_s: impulse of each push at the trunk, N s; 0: no pushes.
        make_listener: makes a listener for the roll-out's control periods, such as a camera.

    Raises:
        RobotError: the twin can't stand up on this terrain, or its physics diverged.
        TerrainError: PyBullet can't build the terrain.
        ValueError: an observation is not finite.
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
    """Put the twin down so that the task leads across the workspace, at a random heading.

    Args:
        twin: put down 3 cm above its standing height; turning tasks start in the middle.
        config: size of the workspace.
        task: name of the task.
        rng: draws the heading.
    """
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

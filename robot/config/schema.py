# SPDX-License-Identifier: MIT
"""The whole configuration: all sections, and the rules that span two of them.

`robot.config.resolve` builds a `Config` from files and flags; `robot.config.sections` defines the
values, their ranges and defaults.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from walkhome.robot.config.sections import (
    OPPOSITE,
    AblationConfig,
    BoardConfig,
    ConstraintConfig,
    ControlConfig,
    EpisodeConfig,
    LearningConfig,
    RewardConfig,
    RobotConfig,
    RunConfig,
    Section,
    SimConfig,
    StandUpConfig,
    TaskName,
    TerrainConfig,
    WorkspaceConfig,
)


class Config(Section):
    """The whole configuration. Its validators check the rules that span two sections.

    Attributes:
        tasks: names of the tasks to learn; every task needs its opposite.
    """

    terrain: TerrainConfig = TerrainConfig()
    robot: RobotConfig = RobotConfig()
    sim: SimConfig = SimConfig()
    control: ControlConfig = ControlConfig()
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1, strict=False)] = (
        "forward",
        "backward",
    )
    reward: RewardConfig = RewardConfig()
    constraint: ConstraintConfig = ConstraintConfig()
    episode: EpisodeConfig = EpisodeConfig()
    workspace: WorkspaceConfig = WorkspaceConfig()
    learning: LearningConfig = LearningConfig()
    stand_up: StandUpConfig = StandUpConfig()
    board: BoardConfig = BoardConfig()
    run: RunConfig = RunConfig()
    ablation: AblationConfig = AblationConfig()

    @model_validator(mode="after")
    def _check_opposite_tasks(self) -> Config:
        for task in self.tasks:
            if self.tasks.count(task) > 1:
                raise ValueError(f"tasks: {task!r} is there twice")
            if OPPOSITE[task] not in self.tasks and self.ablation.scheduler:
                raise ValueError(
                    f"tasks: {task!r} lacks its opposite {OPPOSITE[task]!r}; add it, or the robot "
                    "can't walk home"
                )
        return self

    @model_validator(mode="after")
    def _check_mirrored_tasks(self) -> Config:
        mirrored = {"none": (), "sides": ("left", "right"), "full": tuple(OPPOSITE)}
        for task in self.tasks:
            if task in mirrored[self.learning.symmetry] and OPPOSITE[task] not in self.tasks:
                raise ValueError(
                    f"learning.symmetry: {self.learning.symmetry!r} makes {task!r} "
                    f"{OPPOSITE[task]!r}, which is not in tasks; use none"
                )
        return self

    @model_validator(mode="after")
    def _check_rates(self) -> Config:
        physics, control = self.sim.physics_rate_hz, self.control.rate_hz
        if physics % control:
            raise ValueError(
                f"sim.physics_rate_hz ({physics}) is not a multiple of control.rate_hz ({control})"
            )
        cutoff = self.control.action_filter.cutoff_hz
        if cutoff is not None and cutoff >= control / 2:
            raise ValueError(
                f"control.action_filter.cutoff_hz ({cutoff:g}) must be below half of "
                f"control.rate_hz ({control}); null takes the filter out"
            )
        return self

    @model_validator(mode="after")
    def _check_workspace(self) -> Config:
        for key in ("half_length_m", "half_width_m"):
            side = 2.0 * getattr(self.workspace, key)
            if side < self.robot.footprint_m:
                raise ValueError(
                    f"workspace.{key}: a side of {side:g} m is smaller than the robot "
                    f"({self.robot.footprint_m:g} m); make it larger"
                )
            if self.terrain.kind != "plane" and side > self.terrain.size_m:
                raise ValueError(
                    f"workspace.{key}: a side of {side:g} m does not fit on the terrain "
                    f"(terrain.size_m is {self.terrain.size_m:g})"
                )
            if self.workspace.centre_radius_m >= getattr(self.workspace, key):
                raise ValueError(f"workspace.centre_radius_m must be below workspace.{key}")
        return self

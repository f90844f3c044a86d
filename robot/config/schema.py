# SPDX-License-Identifier: MIT
"""What can be configured: frozen, strict pydantic models, one per section. SI units in the names.

`robot.config.resolve` resolves files and flags into one `Config`; nothing else builds one by hand.
Every
range is what the rest of the code can honour; whatever spans two sections is checked in `Config`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from walkhome.hardware.body import Body

TaskName = Literal["forward", "backward", "left", "right"]
OPPOSITE: dict[str, str] = {
    "forward": "backward",
    "backward": "forward",
    "left": "right",
    "right": "left",
}


# Also part of file names, and never mistaken for a number in YAML.
Name = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Angle = Annotated[float, Field(gt=0.0, le=math.pi)]
Size = Annotated[int, Field(strict=True, ge=1, le=4096)]


class Section(BaseModel):
    """The base of every section: frozen, strict, no unknown keys, only finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class TerrainConfig(Section):
    """The ground of the twin; which keys matter depends on `kind`."""

    name: Name = "flat"
    kind: Literal["plane", "soft", "slots"] = "plane"
    friction: Annotated[float, Field(gt=0.0, le=3.0)] = 1.0
    restitution: Probability = 0.0
    stiffness_n_m: Annotated[float, Field(gt=0.0, le=1e6)] = 30000.0
    damping_n_s_m: Annotated[float, Field(ge=0.0, le=1e5)] = 1000.0
    roughness_m: Annotated[float, Field(ge=0.0, le=0.2)] = 0.0
    feature_m: Annotated[float, Field(gt=0.0, le=5.0)] = 0.2
    slot_width_m: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    slot_depth_m: Annotated[float, Field(ge=0.0, le=0.2)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    size_m: Annotated[float, Field(gt=0.0, le=100.0)] = 12.0


class RobotConfig(Section):
    """A body: stance, action range and gains; the rest of its geometry is `hardware.body`'s."""

    name: Name = "minitaur"
    kp: Annotated[float, Field(gt=0.0, le=5.0)] = 0.5
    kd: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    stance_swing_rad: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    stance_extension_rad: Annotated[float, Field(ge=0.3, le=2.8)] = 2.0
    action_swing_rad: Annotated[float, Field(gt=0.0, le=math.pi)] = 0.5
    action_extension_rad: Annotated[float, Field(gt=0.0, le=math.pi)] = 0.5
    rate_limit_rad_s: Annotated[float, Field(gt=0.0, le=200.0)] = 25.0
    footprint_m: Annotated[float, Field(gt=0.0, le=5.0)] = 0.6

    def to_body(self) -> Body:
        """The `hardware.body.Body` that this section describes."""
        from walkhome.hardware.body import Body  # loads NumPy, which `robot --help` can do without

        return Body(**self.model_dump())


class SimConfig(Section):
    """The twin: physics, delays, sensor noise (standard deviations) and deviations of the body."""

    physics_rate_hz: Annotated[int, Field(ge=100, le=10000)] = 500
    solver_iterations: Annotated[int, Field(ge=1, le=1000)] = 30
    sensor_latency_s: Annotated[float, Field(ge=0.0, le=0.2)] = 0.02
    pd_latency_s: Annotated[float, Field(ge=0.0, le=0.05)] = 0.002
    motor_angle_noise_rad: Annotated[float, Field(ge=0.0, le=0.5)] = 0.01
    motor_velocity_noise_rad_s: Annotated[float, Field(ge=0.0, le=5.0)] = 0.2
    attitude_noise_rad: Annotated[float, Field(ge=0.0, le=0.5)] = 0.01
    angular_velocity_noise_rad_s: Annotated[float, Field(ge=0.0, le=5.0)] = 0.05
    battery_v: Annotated[float, Field(ge=6.0, le=30.0)] = 16.0
    mass_scale: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    strength: Annotated[float, Field(ge=0.2, le=2.0)] = 1.0


class ActionFilterConfig(Section):
    """The Butterworth low-pass on the actions; a `cutoff_hz` of null takes it out."""

    order: Annotated[int, Field(ge=1, le=2)] = 1
    cutoff_hz: Annotated[float, Field(gt=0.0, le=50.0)] | None = 5.0


class ControlConfig(Section):
    """The control loop."""

    rate_hz: Annotated[int, Field(ge=20, le=100)] = 50
    history_frames: Annotated[int, Field(ge=1, le=30)] = 6
    action_filter: ActionFilterConfig = ActionFilterConfig()


class RewardConfig(Section):
    """How a step's motion becomes a number."""

    frame: Literal["episode", "step"] = "episode"
    linear_scale: Positive = 20.0
    angular_scale: Positive = 8.0
    smoothness_weight: NonNegative = 0.1
    side_penalty: NonNegative = 0.0
    turn_penalty: NonNegative = 0.0
    lean_penalty: NonNegative = 5.0


class ConstraintConfig(Section):
    """The attitude limits and the multipliers that hold them."""

    kind: Literal["pid", "dual", "fixed", "off"] = "pid"
    form: Literal["vector", "margin"] = "vector"
    pitch_limit_rad: Angle = math.pi / 12
    roll_limit_rad: Angle = math.pi / 6
    budget: Positive = 0.01
    after_fall: Literal["ignored", "counted"] = "ignored"
    kp: NonNegative = 0.2
    ki: NonNegative = 0.05
    kd: NonNegative = 0.1
    growth: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    lambda_initial: NonNegative = 0.0
    lambda_min: NonNegative = 0.0
    lambda_max: Annotated[float, Field(gt=0.0, le=1e6)] = 20.0
    lambda_fixed: NonNegative = 1.0

    @model_validator(mode="after")
    def _multipliers_fit(self) -> ConstraintConfig:
        for key in ("lambda_min", "lambda_initial", "lambda_fixed"):
            if getattr(self, key) > self.lambda_max:
                raise ValueError(f"{key} is above lambda_max ({self.lambda_max:g}): lower it")
        return self


class EpisodeConfig(Section):
    """When a roll-out ends."""

    length_s: Annotated[float, Field(ge=0.5, le=120.0)] = 4.0
    fall_pitch_rad: Angle = 0.7
    fall_roll_rad: Angle = 0.7


class WorkspaceConfig(Section):
    """The rectangle on the floor that the robot stays in, around where it was put down."""

    half_length_m: Annotated[float, Field(gt=0.0, le=50.0)] = 2.5
    half_width_m: Annotated[float, Field(gt=0.0, le=50.0)] = 2.5
    centre_radius_m: Annotated[float, Field(ge=0.0, le=50.0)] = 0.5
    margin_m: Annotated[float, Field(ge=0.0, le=5.0)] = 0.6


class LearningConfig(Section):
    """Soft actor-critic."""

    updates_per_step: Annotated[int, Field(ge=1, le=64)] = 4
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    hidden_sizes: Annotated[tuple[Size, ...], Field(min_length=1, max_length=8, strict=False)] = (
        256,
        256,
    )
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    temperature_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    discount: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.97
    cost_discount: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.97
    tau: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    initial_temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    target_entropy: Annotated[float, Field(ge=-100.0, le=100.0)] = -8.0
    layer_norm: bool = True
    critics: Literal["targets", "crossq"] = "targets"
    relabel: bool = True
    shared_network: bool = False
    symmetry: Literal["none", "sides", "full"] = "sides"
    replay_capacity: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    random_steps: Annotated[int, Field(ge=0)] = 500
    exploration_beta: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    actor_every: Annotated[int, Field(ge=1, le=100)] = 1
    torch_threads: Annotated[int, Field(ge=1, le=256)] = 1
    backend: Literal["fast", "plain"] = "fast"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    process: Literal["inline", "pipelined", "free"] = "inline"
    lag_steps: Annotated[int, Field(ge=1, le=1000)] = 8

    @model_validator(mode="after")
    def _a_batch_fits(self) -> LearningConfig:
        if self.replay_capacity < self.batch_size:
            raise ValueError(f"replay_capacity is below batch_size ({self.batch_size}): raise it")
        return self

    @model_validator(mode="after")
    def _nothing_is_set_in_vain(self) -> LearningConfig:
        in_vain = {
            "critics: crossq": ("layer_norm", "tau", "precision") * (self.critics == "crossq"),
            "backend: plain": ("precision",) * (self.backend == "plain"),
            "device: cuda": ("precision", "backend", "critics") * (self.device == "cuda"),
        }
        for cause, keys in in_vain.items():
            for key in keys:
                value = getattr(self, key)
                # Whoever says float32 gets it there too.
                if value not in (type(self).model_fields[key].default, "float32"):
                    raise ValueError(f"{key} does not go with {cause}: leave one of them out")
        return self


class StandUpConfig(Section):
    """The scripted stand-up."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    pause_s: Annotated[float, Field(ge=0.0, le=600.0)] = 2.0


class AblationConfig(Section):
    """What only `robot ablate` takes away, in the twin only; a real robot refuses both.

    Without the scheduler the task with the least experience comes next wherever it leads, any set
    of tasks will do, and a robot that left the workspace is carried back, as by a person. With the
    reset `teleport` nobody stands up: the twin is set on its feet where it is.
    """

    scheduler: bool = True
    reset: Literal["scripted", "teleport"] = "scripted"

    @property
    def carries(self) -> bool:
        """Whether something but its motors may move the twin."""
        return not self.scheduler or self.reset == "teleport"


class BoardConfig(Section):
    """A robot on a serial port; no port means the twin."""

    port: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    pose: Annotated[str, Field(min_length=1, max_length=4096)] = "auto"
    silence_s: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1
    # Of commands, until the supervisor cuts; never less than one and a half periods.
    command_gap_s: Annotated[float, Field(ge=0.01, le=0.1)] = 0.025
    ease_in_s: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0
    battery_min_v: Annotated[float, Field(ge=6.0, le=60.0)] = 14.0
    temperature_max_c: Annotated[float, Field(ge=20.0, le=80.0)] = 60.0
    rearms_per_10_min: Annotated[int, Field(ge=0, le=1000)] = 20


class RunConfig(Section):
    """One run: how long, which seed, how often it is saved."""

    minutes: Annotated[float, Field(gt=0.0, le=100_000.0)] = 8.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    checkpoint_every_s: Annotated[float, Field(gt=0.0, le=86400.0)] = 20.0


class Config(Section):
    """Everything that can be configured; checks whatever spans two sections."""

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
    def _tasks_come_in_pairs(self) -> Config:
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
    def _mirror_images_are_tasks(self) -> Config:
        mirrored = {"none": (), "sides": ("left", "right"), "full": tuple(OPPOSITE)}
        for task in self.tasks:
            if task in mirrored[self.learning.symmetry] and OPPOSITE[task] not in self.tasks:
                raise ValueError(
                    f"learning.symmetry: {self.learning.symmetry!r} makes {task!r} "
                    f"{OPPOSITE[task]!r}, which is not in tasks; use none"
                )
        return self

    @model_validator(mode="after")
    def _rates_fit(self) -> Config:
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
    def _the_robot_fits(self) -> Config:
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

# SPDX-License-Identifier: MIT
"""The sections of the configuration: frozen, strict pydantic models with all defaults.

This is the only place where defaults are defined; docs/defaults.md gives the reasons. Names carry
SI units. The range of a value is what the code that uses it supports. `robot.config.schema` puts
the sections together and checks the rules that span two of them.
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
"""Every task and the task in the opposite direction."""

# A name is part of file names and is never read as a number by YAML.
Name = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Angle = Annotated[float, Field(gt=0.0, le=math.pi)]
Size = Annotated[int, Field(strict=True, ge=1, le=4096)]


class Section(BaseModel):
    """Base of every section: frozen, strict types, unknown keys refused, finite numbers only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class TerrainConfig(Section):
    """The ground of the twin.

    Attributes:
        name: name in the run folder's name and in reports.
        kind: hard floor, soft ground (spring and damper contacts), or tiles with slots.
        friction: lateral friction coefficient; PyBullet multiplies it with that of the feet.
        restitution: 0 absorbs an impact, 1 returns it.
        stiffness_n_m: contact stiffness; `soft` only.
        damping_n_s_m: contact damping; `soft` only.
        roughness_m: height of the mounds; `soft` only.
        feature_m: width of a mound (`soft`), or distance between slots (`slots`).
        slot_width_m: width of a slot; `slots` only.
        slot_depth_m: depth of a slot; `slots` only.
        seed: random seed of mounds and slots.
        size_m: side of the square that has mounds or slots.
    """

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
    """The body: stance, action range and gains. `hardware.body` has the rest of the geometry.

    Attributes:
        name: name of the body in policies and exports.
        kp: proportional gain of the motors, PWM per rad.
        kd: derivative gain of the motors, PWM per rad/s.
        stance_swing_rad: swing of every leg in the stance.
        stance_extension_rad: extension of every leg in the stance.
        action_swing_rad: swing away from the stance at an action of 1.
        action_extension_rad: extension away from the stance at an action of 1.
        rate_limit_rad_s: largest rate of change of a commanded motor angle.
        footprint_m: largest horizontal extent of the robot.
    """

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
        """The `hardware.body.Body` with these values."""
        from walkhome.hardware.body import Body  # imports NumPy; `robot --help` must be quick

        return Body(**self.model_dump())


class SimConfig(Section):
    """The twin: physics, latencies, sensor noise and deviations of the body from its model.

    Attributes:
        physics_rate_hz: physics and motor control steps per second; a multiple of control.rate_hz.
        solver_iterations: iterations of Bullet's contact solver per physics step.
        sensor_latency_s: time from a measurement to the control loop.
        pd_latency_s: time from an encoder to its motor controller.
        motor_angle_noise_rad: standard deviation of the measured motor angles.
        motor_velocity_noise_rad_s: standard deviation of the measured motor velocities.
        attitude_noise_rad: standard deviation of the measured roll, pitch and yaw.
        angular_velocity_noise_rad_s: standard deviation of the measured angular velocity.
        battery_v: battery voltage.
        mass_scale: factor on the trunk's mass.
        strength: factor on the motors' torque.
    """

    physics_rate_hz: Annotated[int, Field(ge=100, le=10000)] = 500
    solver_iterations: Annotated[int, Field(ge=1, le=1000)] = 30
    sensor_latency_s: Annotated[float, Field(ge=0.0, le=0.2)] = 0.02
    pd_latency_s: Annotated[float, Field(ge=0.0, le=0.05)] = 0.002
    motor_angle_noise_rad: Annotated[float, Field(ge=0.0, le=0.5)] = 0.01
    motor_velocity_noise_rad_s: Annotated[float, Field(ge=0.0, le=5.0)] = 0.2
    motor_torque_noise_nm: Annotated[float, Field(ge=0.0, le=3.0)] = 0.05
    attitude_noise_rad: Annotated[float, Field(ge=0.0, le=0.5)] = 0.01
    angular_velocity_noise_rad_s: Annotated[float, Field(ge=0.0, le=5.0)] = 0.05
    battery_v: Annotated[float, Field(ge=6.0, le=30.0)] = 16.0
    mass_scale: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    strength: Annotated[float, Field(ge=0.2, le=2.0)] = 1.0


class ActionFilterConfig(Section):
    """The Butterworth low-pass filter on the actions.

    Attributes:
        order: order of the filter.
        cutoff_hz: cut-off frequency; null disables the filter.
    """

    order: Annotated[int, Field(ge=1, le=2)] = 1
    cutoff_hz: Annotated[float, Field(gt=0.0, le=50.0)] | None = 5.0


class ControlConfig(Section):
    """Settings of the control loop.

    Attributes:
        rate_hz: control periods per second.
        history_frames: number of past control periods in an observation.
        action_filter: low-pass filter on the actions.
    """

    rate_hz: Annotated[int, Field(ge=20, le=100)] = 50
    history_frames: Annotated[int, Field(ge=1, le=30)] = 6
    action_filter: ActionFilterConfig = ActionFilterConfig()


class RewardConfig(Section):
    """Weights of the reward; see `robot.mdp.rewards.reward_weights`.

    Attributes:
        frame: velocity is measured in the body frame at the start of the episode, or of the step.
        linear_scale: reward per m/s in the task's direction.
        angular_scale: reward per rad/s in the task's direction.
        smoothness_weight: penalty on the squared second difference of the actions.
        side_penalty: penalty on horizontal speed, for turning tasks.
        turn_penalty: penalty on the turn rate, for walking tasks.
        lean_penalty: penalty on legs of a side that swing the same way.
    """

    frame: Literal["episode", "step"] = "episode"
    linear_scale: Positive = 20.0
    angular_scale: Positive = 8.0
    smoothness_weight: NonNegative = 0.1
    side_penalty: NonNegative = 0.0
    turn_penalty: NonNegative = 0.0
    lean_penalty: NonNegative = 5.0


class ConstraintConfig(Section):
    """The attitude constraints and their Lagrange multipliers (`learning.constraint`).

    Attributes:
        kind: how multipliers adapt: PID, dual gradient ascent (Ha et al. 2020), not at all, or no
            constraint. The paper's constraint is `kind: dual, form: margin, lambda_min: 0`.
        form: one cost per angle, or the paper's single margin.
        pitch_limit_rad: pitch magnitude above which a step has a cost.
        roll_limit_rad: roll magnitude above which a step has a cost.
        budget: mean cost per step that is allowed, rad.
        after_fall: whether the cost of a fallen robot counts on after the end of the episode.
        kp: proportional gain of `pid`.
        ki: integral gain of `pid`.
        kd: derivative gain of `pid`.
        growth: relative growth of `pid`'s integral per unit of violation.
        learning_rate: step of `dual` per unit of violation.
        lambda_initial: initial multiplier of `pid` and `dual`.
        lambda_min: lower bound of the multiplier of `pid` and `dual`.
        lambda_max: upper bound of all multipliers.
        lambda_fixed: the multiplier of `fixed`.
    """

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
    lambda_min: NonNegative = 1.0
    lambda_max: Annotated[float, Field(gt=0.0, le=1e6)] = 20.0
    lambda_fixed: NonNegative = 1.0

    @model_validator(mode="after")
    def _check_multiplier_bounds(self) -> ConstraintConfig:
        for key in ("lambda_min", "lambda_initial", "lambda_fixed"):
            if getattr(self, key) > self.lambda_max:
                raise ValueError(f"{key} is above lambda_max ({self.lambda_max:g}): lower it")
        return self


class EpisodeConfig(Section):
    """The end of a roll-out.

    Attributes:
        length_s: longest duration.
        fall_pitch_rad: pitch magnitude that counts as a fall.
        fall_roll_rad: roll magnitude that counts as a fall.
    """

    length_s: Annotated[float, Field(ge=0.5, le=120.0)] = 4.0
    fall_pitch_rad: Angle = 0.7
    fall_roll_rad: Angle = 0.7


class WorkspaceConfig(Section):
    """The rectangle on the floor that the robot stays in, centred where it was put down.

    Attributes:
        half_length_m: half of the extent along x, the robot's first heading.
        half_width_m: half of the extent along y.
        centre_radius_m: radius around the centre within which any task may come next.
        margin_m: width of the strip along the edge in which a roll-out that walks outwards ends.
    """

    half_length_m: Annotated[float, Field(gt=0.0, le=50.0)] = 2.5
    half_width_m: Annotated[float, Field(gt=0.0, le=50.0)] = 2.5
    centre_radius_m: Annotated[float, Field(ge=0.0, le=50.0)] = 0.5
    margin_m: Annotated[float, Field(ge=0.0, le=5.0)] = 0.6


class LearningConfig(Section):
    """Soft actor-critic and the process that runs it.

    Attributes:
        updates_per_step: gradient steps per control step.
        batch_size: transitions per gradient step and task.
        hidden_sizes: units of each hidden layer.
        learning_rate: Adam's step size for actors and critics.
        temperature_learning_rate: Adam's step size for the entropy temperature.
        discount: discount factor of the reward, per control step.
        cost_discount: discount factor of the costs, per control step.
        tau: share by which target networks follow per gradient step.
        initial_temperature: entropy temperature at the start.
        target_entropy: entropy that the temperature is adapted to.
        layer_norm: LayerNorm in the critics.
        relabel: every task learns from the transitions of all tasks.
        shared_network: one network for all tasks instead of one per task.
        symmetry: mirror images that augment a batch: none, left-right, or front-back too.
        replay_capacity: transitions in the replay buffer.
        random_steps: control steps of random actions before learning starts.
        exploration_beta: colour of the exploration noise; 0 is white, 1 is pink.
        actor_every: gradient steps of the critics per gradient step of the actor.
        torch_threads: threads of PyTorch.
        backend: the compiled update, or the reference implementation with autograd.
        precision: of the compiled update's matrix products; auto picks what is faster here.
        device: where the learner computes.
        process: learner in the control process, in a second process in lockstep (pipelined), or in
            a second process that nothing waits for (free). A run on a board is always `free`.
        lag_steps: control steps by which the weights of a pipelined learner lag.
    """

    updates_per_step: Annotated[int, Field(ge=1, le=64)] = 4
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    hidden_sizes: Annotated[
        tuple[Size, ...],
        Field(min_length=1, max_length=8, strict=False),  # strict=False: YAML has lists only
    ] = (256, 256)
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    temperature_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    discount: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.97
    cost_discount: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.97
    tau: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    initial_temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    target_entropy: Annotated[float, Field(ge=-100.0, le=100.0)] = -8.0
    layer_norm: bool = True
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
    def _check_replay_holds_a_batch(self) -> LearningConfig:
        if self.replay_capacity < self.batch_size:
            raise ValueError(f"replay_capacity is below batch_size ({self.batch_size}): raise it")
        return self

    @model_validator(mode="after")
    def _reject_ignored_keys(self) -> LearningConfig:
        ignored = {
            "backend: plain": ("precision",) * (self.backend == "plain"),
            "device: cuda": ("precision", "backend") * (self.device == "cuda"),
        }
        for cause, keys in ignored.items():
            for key in keys:
                value = getattr(self, key)
                # float32 is accepted: it is the precision that these learners have.
                if value not in (type(self).model_fields[key].default, "float32"):
                    raise ValueError(f"{key} does not go with {cause}: leave one of them out")
        return self


class StandUpConfig(Section):
    """Settings of the scripted stand-up.

    Attributes:
        max_attempts: attempts in a row, after which the robot pauses.
        pause_s: length of that pause, in which the motors cool.
    """

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    pause_s: Annotated[float, Field(ge=0.0, le=600.0)] = 2.0


class AblationConfig(Section):
    """Parts that a study (`robot ablate`) can remove, in the twin only; a board refuses both.

    Attributes:
        scheduler: choose the task that leads back to the centre. Without it, the task with the
            least experience comes next, tasks need no opposites, and a robot that left the
            workspace is carried back, as a person would.
        reset: stand up by the scripted motion, or be set on the feet by the simulator (teleport).
    """

    scheduler: bool = True
    reset: Literal["scripted", "teleport"] = "scripted"

    @property
    def carries(self) -> bool:
        """True if the twin may be moved by something other than its motors."""
        return not self.scheduler or self.reset == "teleport"


class BoardConfig(Section):
    """A robot on a serial port.

    Attributes:
        port: serial port; null for the twin.
        pose: source of the robot's pose, as for `--pose`.
        silence_s: age of the newest telemetry at which the link counts as lost.
        command_gap_s: time without a command after which the supervisor cuts the torque; at least
            one and a half control periods.
        ease_in_s: time over which the torque limit grows after arming.
        battery_min_v: battery voltage below which the robot is not armed.
        temperature_max_c: motor temperature above which the robot is not armed.
        rearms_per_10_min: largest number of automatic re-armings in 10 minutes, over all faults.
    """

    port: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    pose: Annotated[str, Field(min_length=1, max_length=4096)] = "auto"
    silence_s: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1
    command_gap_s: Annotated[float, Field(ge=0.01, le=0.1)] = 0.025
    ease_in_s: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0
    battery_min_v: Annotated[float, Field(ge=6.0, le=60.0)] = 14.0
    temperature_max_c: Annotated[float, Field(ge=20.0, le=80.0)] = 60.0
    rearms_per_10_min: Annotated[int, Field(ge=0, le=1000)] = 20


class RunConfig(Section):
    """Settings of one run.

    Attributes:
        minutes: robot minutes to learn for, including standing up and waiting.
        seed: seed of everything random.
        checkpoint_every_s: robot seconds between two checkpoints.
    """

    minutes: Annotated[float, Field(gt=0.0, le=100_000.0)] = 8.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    checkpoint_every_s: Annotated[float, Field(gt=0.0, le=86400.0)] = 20.0

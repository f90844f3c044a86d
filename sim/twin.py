# SPDX-License-Identifier: MIT
"""PyBulletRobot: the Minitaur's twin, a `Robot` in process, with motors, latency and noise.

Each physics step: PD on delayed encoders, PWM, torque with back-EMF, Bullet, sensors to the
history. A read sees the history `sensor_latency_s` ago, plus noise. With noise and latency off this
is bullet3's Minitaur bit for bit (`tests/sim/test_reference.py`). The twin is moved by its motors
only: `place` works before the first physics step and never after.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pybullet

from hardware.body import MINITAUR, N_MOTORS, Body
from hardware.robot import Fault, MotorCommand, Pose2D, RobotError, RobotState, Stop
from hardware.rotation import roll_pitch_yaw, rotate_inverse
from sim.minitaur import START_HEIGHT_M, Minitaur, Sample
from sim.motor import MotorModel, OverheatGuard, ThermalModel
from sim.terrain import GRAVITY_M_S2, Terrain, build

__all__ = [
    "START_HEIGHT_M",
    "PyBulletRobot",
    "SimulationDiverged",
    "TrueState",
    "TwinSettings",
]

FloatArray = npt.NDArray[np.float64]

DutySource = Callable[[Sample], tuple[list[float], float]]

SETTLE_S = 0.5  # damped sit before the motors go limp
SETTLE_KD = 0.02
MAX_SPEED_M_S = 50.0  # faster than that, the physics has blown up
_LIMP = (0.0,) * N_MOTORS
_N_NOISY = 31


class SimulationDiverged(RobotError):  # noqa: N818 - says what happened
    """The physics blew up; the numbers after that mean nothing."""


@dataclass(frozen=True)
class TwinSettings:
    """How the twin differs from an ideal robot. Sources: `Tan 2018` (arXiv 1804.10332) and bullet3.

    Attributes:
        physics_rate_hz: Bullet steps and motor PD steps per second.
        solver_iterations: of Bullet's constraint solver (bullet3: 300 / action repeat).
        sensor_latency_s: measurement to `read` (Tan 2018: 15 to 19 ms through the TX2, 20 here).
        pd_latency_s: encoder to motor controller (bullet3: 2 to 3 ms).
        motor_angle_noise_rad: standard deviation, per read.
        motor_velocity_noise_rad_s: standard deviation, per read.
        motor_torque_noise_nm: standard deviation, per read.
        attitude_noise_rad: standard deviation of roll, pitch and yaw, per read.
        angular_velocity_noise_rad_s: standard deviation, per read.
        battery_v: bus voltage.
        strength: factor on motor torque.
        mass_scale: factor on the trunk's mass.
    """

    physics_rate_hz: float = 500.0
    solver_iterations: int = 30
    sensor_latency_s: float = 0.02
    pd_latency_s: float = 0.002
    motor_angle_noise_rad: float = 0.01
    motor_velocity_noise_rad_s: float = 0.2
    motor_torque_noise_nm: float = 0.05
    attitude_noise_rad: float = 0.01
    angular_velocity_noise_rad_s: float = 0.05
    battery_v: float = 16.0
    strength: float = 1.0
    mass_scale: float = 1.0

    def noise(self) -> FloatArray:
        """(31,) standard deviations: 8 angles, velocities, torques, a quaternion, a gyro's 3."""
        # Half an angle's error on each part of a quaternion is that error about each axis.
        sizes = (
            (8, self.motor_angle_noise_rad),
            (8, self.motor_velocity_noise_rad_s),
            (8, self.motor_torque_noise_nm),
            (4, 0.5 * self.attitude_noise_rad),
            (3, self.angular_velocity_noise_rad_s),
        )
        return np.concatenate([np.full(n, size) for n, size in sizes])


@dataclass(frozen=True)
class TrueState:
    """What the simulation knows and no robot does; world frame. For tests, reports and pictures."""

    position_m: FloatArray
    quaternion_xyzw: FloatArray
    velocity_m_s: FloatArray
    angular_velocity_rad_s: FloatArray
    motor_angle_rad: FloatArray
    motor_velocity_rad_s: FloatArray
    motor_torque_nm: FloatArray


class PyBulletRobot:
    """The twin. `read` and `command` as any robot; `advance` lets time pass.

    Args:
        terrain: what it stands on.
        settings: latencies, noise, battery.
        body: stance, limits and gains.
        seed: of the sensor noise.
        gui: open PyBullet's window.
        carried: something else than its motors may move it (`carry`); for ablations only.
    """

    def __init__(
        self,
        terrain: Terrain | None = None,
        settings: TwinSettings | None = None,
        body: Body = MINITAUR,
        seed: int = 0,
        gui: bool = False,
        carried: bool = False,
    ) -> None:
        self._body = body
        self._carried = carried
        self.terrain = terrain or Terrain()
        self.settings = settings or TwinSettings()
        self._rng = np.random.default_rng(seed)
        self._noise = self.settings.noise()
        self._motor = MotorModel(self.settings.battery_v, strength=self.settings.strength)
        self._guard = OverheatGuard(N_MOTORS, body.overheat_torque_nm, body.overheat_s)
        self._heat = ThermalModel(N_MOTORS)
        self._dt_s = 1.0 / self.settings.physics_rate_hz
        self._client: int = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        self._step_count = 0
        self._command: MotorCommand | None = None
        self._target_rad: list[float] = []
        self._duty_source: DutySource | None = None
        self._torque_nm: list[float] = list(_LIMP)
        self._current_a: list[float] = list(_LIMP)
        self._command_until_s = 0.0
        self._stopping_until_s: float | None = None
        try:
            self._build_world(self.terrain)
        except Exception:
            self.close()
            raise
        latency_s = max(self.settings.sensor_latency_s, self.settings.pd_latency_s)
        # Newest first; one more for the acceleration, one for a latency between two steps.
        self._history: deque[Sample] = deque(maxlen=math.ceil(latency_s / self._dt_s) + 2)
        self._forget()

    # -- the Robot protocol -------------------------------------------------------------------

    @property
    def body(self) -> Body:
        """Its body."""
        return self._body

    def read(self) -> RobotState:
        """The sensors `sensor_latency_s` ago, with noise."""
        s = self.settings
        now = self._delayed(s.sensor_latency_s)
        before = self._delayed(s.sensor_latency_s + self._dt_s)
        # Bullet gives velocities in the world frame; a gyro and an accelerometer have the body's.
        attitude = now.quaternion_xyzw
        specific_force = [
            (new - old) / self._dt_s
            for new, old in zip(now.velocity_m_s, before.velocity_m_s, strict=True)
        ]
        specific_force[2] += GRAVITY_M_S2
        exact = (*now.angle_rad, *now.velocity_rad_s, *now.torque_nm, *attitude)
        gyro = rotate_inverse(attitude, now.angular_velocity_rad_s)
        # One array for all sensors, because small arrays cost as much as large ones.
        noisy = np.array((*exact, *gyro)) + self._noise * self._rng.standard_normal(_N_NOISY)
        quaternion = noisy[24:28]
        return RobotState(
            time_s=self.time_s - s.sensor_latency_s,
            motor_angle_rad=noisy[0:8],
            motor_velocity_rad_s=noisy[8:16],
            motor_torque_nm=noisy[16:24],
            motor_temperature_c=self._heat.core_c,
            attitude_xyzw=quaternion / math.sqrt(float(quaternion @ quaternion)),
            angular_velocity_rad_s=noisy[28:31],
            acceleration_m_s2=rotate_inverse(attitude, specific_force),
            battery_v=s.battery_v,
            faults=Fault.OVERHEAT if self._guard.any_off else Fault.NONE,
            age_s=s.sensor_latency_s,
        )

    def command(self, command: MotorCommand) -> MotorCommand:
        """Take new targets; a command that is not eight finite numbers is refused.

        Raises:
            ValueError: a target or gain is not finite, or there are not 8 targets.
        """
        if command.angle_rad.shape != (N_MOTORS,):
            raise ValueError(
                f"motor command has shape {command.angle_rad.shape}, not ({N_MOTORS},)"
            )
        if not (
            np.isfinite(command.angle_rad).all()
            and math.isfinite(command.kp)
            and math.isfinite(command.kd)
        ):
            raise ValueError("motor command is not finite; the twin, like a board, refuses it")
        self._command = command
        self._target_rad = command.angle_rad.tolist()
        self._command_until_s = self.time_s + command.valid_s
        self._stopping_until_s = None
        return command

    def stop(self, how: Stop) -> None:
        """SETTLE: damp for half a second, then limp. CUT: limp now."""
        self._command = None
        self._stopping_until_s = self.time_s + (SETTLE_S if how is Stop.SETTLE else 0.0)

    def close(self) -> None:
        """End the simulation; safe to call twice."""
        if self._client >= 0:
            with contextlib.suppress(pybullet.error):  # its window was closed
                pybullet.disconnect(physicsClientId=self._client)
            self._client = -1

    # -- what only a twin has ------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        """Simulated time since the start."""
        return self._step_count * self._dt_s

    @property
    def client(self) -> int:
        """PyBullet's client id, for renderers."""
        return self._client

    @property
    def quadruped(self) -> int:
        """PyBullet's body id of the robot, for renderers and contact queries."""
        return self._model.id

    @property
    def model(self) -> Minitaur:
        """The robot's PyBullet side: joints, links, feet."""
        return self._model

    @property
    def foot_links(self) -> tuple[tuple[int, int], ...]:
        """Per leg the two link indices whose ends make the foot."""
        return self._model.foot_links

    @property
    def shaft_torque_nm(self) -> FloatArray:
        """(8,) torque that the motors really gave in the last physics step."""
        return np.array(self._torque_nm)

    @property
    def motor_current_a(self) -> FloatArray:
        """(8,) magnitude of the current in each motor in the last physics step."""
        return np.array(self._current_a)

    def place(
        self, position_m: FloatArray, quaternion_xyzw: FloatArray, motor_rad: FloatArray | None
    ) -> None:
        """The first placement, by a person's hands.

        Raises:
            RobotError: the twin has moved already; nothing but its motors may move it now.
        """
        if self._step_count:
            raise RobotError("the twin was placed already and only moves by its motors now")
        self._model.place(position_m, quaternion_xyzw)
        if motor_rad is not None:
            self._model.reset_legs(motor_rad)
        self._forget()

    def carry(self, pose: Pose2D) -> None:
        """Set it on its feet somewhere else, at rest: what no robot can do by itself.

        For ablations that ask what the scheduler and the stand-up are worth. Its motors stay as
        warm as they are, and its clock goes on.

        Raises:
            RobotError: this twin only ever moves by its motors, as all but those of ablations.
        """
        if not self._carried:
            raise RobotError("this twin only moves by its motors; only an ablation's is carried")
        self._model.set_down(pose.x_m, pose.y_m, pose.yaw_rad, self._body.stance_motor_rad())
        self._command, self._target_rad = None, []
        self._torque_nm = list(_LIMP)
        self._stopping_until_s = None
        self._forget()

    def advance(self, duration_s: float) -> None:
        """Let time pass: a whole number of physics steps, at least one.

        Raises:
            SimulationDiverged: the physics blew up.
        """
        steps = max(1, round(duration_s / self._dt_s))
        squared_a2 = [0.0] * N_MOTORS
        apply, step, sense = self._model.apply_torques, pybullet.stepSimulation, self._model.sense
        for _ in range(steps):
            reported_nm, current_a = self._motor_step()
            self._current_a = current_a
            squared_a2 = [total + a * a for total, a in zip(squared_a2, current_a, strict=True)]
            apply(self._torque_nm)
            step(self._client)
            self._step_count += 1
            self._remember(sense(reported_nm))
        self._heat.advance([total / steps for total in squared_a2], steps * self._dt_s)
        newest = self._history[0]
        speed_m_s = math.hypot(*newest.velocity_m_s)
        if not (newest.is_finite() and speed_m_s < MAX_SPEED_M_S):
            raise SimulationDiverged(
                f"the twin's physics diverged at t = {self.time_s:.3f} s; lower the contact "
                "stiffness or raise sim.physics_rate_hz"
            )

    def true_state(self) -> TrueState:
        """Where the twin really is, without latency and noise."""
        newest = self._history[0]
        return TrueState(
            np.array(newest.position_m),
            np.array(newest.quaternion_xyzw),
            np.array(newest.velocity_m_s),
            np.array(newest.angular_velocity_rad_s),
            np.array(newest.angle_rad),
            np.array(newest.velocity_rad_s),
            np.array(newest.torque_nm),
        )

    def latest(self) -> Pose2D:
        """The true pose on the floor: the twin is its own `PoseSource`."""
        newest = self._history[0]
        _, _, yaw = roll_pitch_yaw(np.array(newest.quaternion_xyzw))
        return Pose2D(newest.position_m[0], newest.position_m[1], yaw, self.time_s)

    def drive_by(self, source: DutySource) -> None:
        """Give the motors to somebody else's controller, as the emulated board's.

        Args:
            source: asked every physics step with the sensors `pd_latency_s` ago; returns the duty
                of each motor in [-1, 1] and the largest torque magnitude, N m.
        """
        self._duty_source = source

    # -- its state, for an exact resume -----------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that evolves, as JSON can hold it. Bullet's contact caches have no way out of it.

        So that a run and its resumption stay equal, the run itself has to go on from this state
        too: `robot.load_state_dict(robot.state_dict())`.
        """
        command = self._command
        return {
            "steps": self._step_count,
            "model": self._model.state_dict(),
            "history": [[list(part) for part in sample] for sample in self._history],
            "rng": self._rng.bit_generator.state,
            "guard": self._guard.state_dict(),
            "heat": self._heat.state_dict(),
            "torque_nm": list(self._torque_nm),
            "current_a": list(self._current_a),
            "command": None if command is None else command.to_dict(),
            "command_until_s": self._command_until_s,
            "stopping_until_s": self._stopping_until_s,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Build the world anew and go on from `state_dict`; the same state, the same future.

        Raises:
            KeyError: something is missing in it.
            ValueError: something in it does not fit this twin.
        """
        history = [Sample(*sample) for sample in state["history"]]
        if len(history) != self._history.maxlen:
            raise ValueError(
                f"the twin's state has a history of {len(history)} physics steps, its latency "
                f"needs {self._history.maxlen}: resume with the configuration that saved it"
            )
        self._build_world(self.terrain)
        self._model.load_state_dict(state["model"])
        self._step_count = int(state["steps"])
        self._history.extend(history)
        self._rng.bit_generator.state = state["rng"]
        self._guard.load_state_dict(state["guard"])
        self._heat.load_state_dict(state["heat"])
        self._torque_nm = [float(torque) for torque in state["torque_nm"]]
        # Checkpoints of before it was measured lack it; only measurements read it.
        self._current_a = [float(current) for current in state.get("current_a", _LIMP)]
        saved = state["command"]
        self._command = None if saved is None else MotorCommand.from_dict(saved)
        self._target_rad = [] if self._command is None else self._command.angle_rad.tolist()
        self._command_until_s = float(state["command_until_s"])
        until = state["stopping_until_s"]
        self._stopping_until_s = None if until is None else float(until)

    # -- inside ----------------------------------------------------------------------------------

    def _build_world(self, terrain: Terrain) -> None:
        c = self._client
        pybullet.resetSimulation(physicsClientId=c)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=self._dt_s,
            numSolverIterations=self.settings.solver_iterations,
            deterministicOverlappingPairs=1,
            enableConeFriction=0,
            physicsClientId=c,
        )
        pybullet.setGravity(0, 0, -GRAVITY_M_S2, physicsClientId=c)
        self.ground_bodies = build(terrain, c)
        self._model = Minitaur(c, self._body, self.settings.mass_scale)
        if terrain.kind == "soft":
            self._model.one_shank_per_foot(self.ground_bodies)

    def _motor_step(self) -> tuple[list[float], list[float]]:
        """One step of the motor controllers; sets the shaft torques.

        Returns:
            Torques as the board reports them, N m, and currents, A, 8 each.
        """
        sample = self._delayed(self.settings.pd_latency_s)
        if self._duty_source is not None:
            wanted, cap_nm = self._duty_source(sample)
            torque, current = self._motor.drive(wanted, self._history[0].velocity_rad_s, cap_nm)
            self._torque_nm = torque
            return self._motor.observed_torque(wanted), current
        duty = self._duty(sample)
        if duty is None:
            self._guard.enabled(_LIMP, self._dt_s)
            self._torque_nm = list(_LIMP)
            return self._torque_nm, self._torque_nm
        cap_nm = self._command.torque_cap_nm if self._command is not None else math.inf
        torque, current = self._motor.drive(duty, self._history[0].velocity_rad_s, cap_nm)
        on = self._guard.enabled(torque, self._dt_s)
        if self._guard.any_off:
            torque = [value if ok else 0.0 for value, ok in zip(torque, on, strict=True)]
            current = [value if ok else 0.0 for value, ok in zip(current, on, strict=True)]
        self._torque_nm = torque
        return self._motor.observed_torque(duty), current

    def _duty(self, sample: Sample) -> list[float] | None:
        """Duty by mode: position, damped (stopping or command expired), or None for limp."""
        angle, velocity, now_s = sample.angle_rad, sample.velocity_rad_s, self.time_s
        command = self._command
        if command is not None:
            if now_s < self._command_until_s:
                target = self._target_rad
                return self._motor.duty(target, angle, velocity, command.kp, command.kd)
            # The board's own watchdog: damp, then limp (docs: validity of a command).
            self.stop(Stop.SETTLE)
        if self._stopping_until_s is not None and now_s < self._stopping_until_s:
            return self._motor.duty(angle, angle, velocity, 0.0, SETTLE_KD)
        return None

    def _remember(self, sample: Sample) -> None:
        """Put a sample in front of the history."""
        last, new = self._history[0].quaternion_xyzw, sample.quaternion_xyzw
        # A quaternion and its negative are the same attitude; interpolation needs one sheet.
        if last[0] * new[0] + last[1] * new[1] + last[2] * new[2] + last[3] * new[3] < 0.0:
            sample = sample._replace(quaternion_xyzw=[-value for value in new])
        self._history.appendleft(sample)

    def _forget(self) -> None:
        """Fill the history with the present, as if the robot had always been there."""
        self._history.extend([self._model.sense(_LIMP)] * (self._history.maxlen or 1))

    def _delayed(self, latency_s: float) -> Sample:
        """The history `latency_s` ago, interpolated between physics steps."""
        history = self._history
        steps = latency_s / self._dt_s
        whole = min(int(steps + 1e-9), len(history) - 1)
        part = steps - whole
        if part < 1e-6 or whole + 1 >= len(history):
            return history[whole]
        return Sample(
            *(
                [(1.0 - part) * new + part * old for new, old in zip(after, before, strict=True)]
                for after, before in zip(history[whole], history[whole + 1], strict=True)
            )
        )

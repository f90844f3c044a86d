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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pybullet

from walkhome.hardware.body import Body
from walkhome.hardware.constants import GRAVITY_M_S2
from walkhome.hardware.robot import Fault, MotorCommand, Pose2D, RobotError, RobotState, Stop
from walkhome.hardware.rotation import roll_pitch_yaw, rotated_inverse
from walkhome.sim.history import History, Sample, turned
from walkhome.sim.minitaur import START_HEIGHT_M, Minitaur
from walkhome.sim.motor import MotorModel
from walkhome.sim.motor_controllers import LIMP, Motors
from walkhome.sim.sensor_noise import SensorNoise
from walkhome.sim.terrain import Terrain, build
from walkhome.sim.twin_settings import TwinSettings

__all__ = [
    "START_HEIGHT_M",
    "PyBulletRobot",
    "SimulationDiverged",
    "TrueState",
    "TwinSettings",
]

_step_physics = pybullet.stepSimulation

FloatArray = npt.NDArray[np.float64]

DutySource = Callable[[Sample], tuple[list[float], float]]

MAX_SPEED_M_S = 50.0  # faster than that, the physics has blown up
_N_NOISY = 31


class SimulationDiverged(RobotError):  # noqa: N818 - says what happened
    """The physics blew up; the numbers after that mean nothing."""


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
        terrain: Terrain,
        settings: TwinSettings,
        body: Body,
        seed: int = 0,
        gui: bool = False,
        carried: bool = False,
    ) -> None:
        self._body = body
        self._carried = carried
        self.terrain = terrain
        self.settings = settings
        self._random = SensorNoise(_N_NOISY, seed)
        self._noise = self.settings.noise()
        self._dt_s = 1.0 / self.settings.physics_rate_hz
        motor = MotorModel(self.settings.battery_v, strength=self.settings.strength)
        self._motors = Motors(motor, body, self._dt_s)
        self._client: int = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        self._step_count = 0
        self._duty_source: DutySource | None = None
        try:
            self._build_world(self.terrain)
        except Exception:
            self.close()
            raise
        s = self.settings
        self._history = History(max(s.sensor_latency_s, s.pd_latency_s), self._dt_s)
        self._pd_latency = self._history.latency(s.pd_latency_s)
        self._latency = self._history.latency(s.sensor_latency_s)
        self._latency_before = self._history.latency(s.sensor_latency_s + self._dt_s)
        self._forget()

    # -- the Robot protocol -------------------------------------------------------------------

    @property
    def body(self) -> Body:
        """Its body."""
        return self._body

    def read(self) -> RobotState:
        """The sensors `sensor_latency_s` ago, with noise."""
        s = self.settings
        now = self._history.sample(self._latency).read()
        before = self._history.sample(self._latency_before)
        # Bullet gives velocities in the world frame; a gyro and an accelerometer have the body's.
        attitude = now.quaternion_xyzw
        gyro = rotated_inverse(attitude, now.angular_velocity_rad_s)
        ax, ay, az = (
            (new - old) / self._dt_s
            for new, old in zip(now.velocity_m_s, before.velocity_m_s, strict=True)
        )
        felt = rotated_inverse(attitude, (ax, ay, az + GRAVITY_M_S2))
        exact = (*now.angle_rad, *now.velocity_rad_s, *now.torque_nm, *attitude, *gyro)
        # Floats, and one array for all sensors in the end: a call of NumPy costs as much as they
        # do, and five times that after a physics step, which leaves nothing in the caches.
        noisy = [
            x + sd * error
            for x, sd, error in zip(exact, self._noise, self._random.next(), strict=True)
        ]
        length = math.hypot(*noisy[24:28])
        noisy[24:28] = [part / length for part in noisy[24:28]]
        values = np.array((*noisy, *felt, *self._motors.temperature_c))
        return RobotState(
            time_s=self.time_s - s.sensor_latency_s,
            motor_angle_rad=values[0:8],
            motor_velocity_rad_s=values[8:16],
            motor_torque_nm=values[16:24],
            motor_temperature_c=values[34:42],
            attitude_xyzw=values[24:28],
            angular_velocity_rad_s=values[28:31],
            acceleration_m_s2=values[31:34],
            battery_v=s.battery_v,
            faults=Fault.OVERHEAT if self._motors.any_off else Fault.NONE,
            age_s=s.sensor_latency_s,
        )

    def command(self, command: MotorCommand) -> MotorCommand:
        """Take new targets; a command that is not eight finite numbers is refused.

        Raises:
            ValueError: a target or gain is not finite, or there are not 8 targets.
        """
        self._motors.command(command, self.time_s)
        return command

    def stop(self, how: Stop) -> None:
        """SETTLE: damp for half a second, then limp. CUT: limp now."""
        self._motors.stop(how, self.time_s)

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
        return np.array(turned(self._motors.torque_nm))

    @property
    def motor_current_a(self) -> FloatArray:
        """(8,) magnitude of the current in each motor in the last physics step."""
        return np.array(self._motors.current_a)

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
        self._motors.let_go()
        self._forget()

    def advance(self, duration_s: float) -> None:
        """Let time pass: a whole number of physics steps, at least one.

        Raises:
            SimulationDiverged: the physics blew up.
        """
        steps = max(1, round(duration_s / self._dt_s))
        model, motors, history = self._model, self._motors, self._history
        for _ in range(steps):
            reported_nm = self._motor_step()
            model.apply_torques(motors.torque_nm)
            _step_physics(self._client)
            self._step_count += 1
            history.add(model.sense(reported_nm))
        motors.warm_up()
        newest = history.newest
        speed_m_s = math.hypot(*newest.velocity_m_s)
        if not (newest.is_finite() and speed_m_s < MAX_SPEED_M_S):
            raise SimulationDiverged(
                f"the twin's physics diverged at t = {self.time_s:.3f} s; lower the contact "
                "stiffness or raise sim.physics_rate_hz"
            )

    def true_state(self) -> TrueState:
        """Where the twin really is, without latency and noise."""
        newest = self._history.newest.read()
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
        newest = self._history.newest
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
        return {
            "steps": self._step_count,
            "model": self._model.state_dict(),
            "history": self._history.state_dict(),
            **self._random.state_dict(),
            **self._motors.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Build the world anew and go on from `state_dict`; the same state, the same future.

        Raises:
            KeyError: something is missing in it.
            ValueError: something in it does not fit this twin.
        """
        self._history.load_state_dict(state["history"])
        self._build_world(self.terrain)
        self._model.load_state_dict(state["model"])
        self._step_count = int(state["steps"])
        self._random.load_state_dict(state)
        self._motors.load_state_dict(state)

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
        self._model = Minitaur(c, self.settings.mass_scale)
        if terrain.kind == "soft":
            self._model.one_shank_per_foot(self.ground_bodies)

    def _motor_step(self) -> Sequence[float]:
        """One step of the motor controllers; the torques that they report."""
        history, joints = self._history, self._history.newest.joints
        if self._duty_source is not None:
            duty, cap_nm = self._duty_source(history.sample(self._pd_latency).read())
            return self._motors.step_by(turned(duty), joints, cap_nm)
        felt = history.joints(self._pd_latency)
        return self._motors.step(felt, joints, self._step_count * self._dt_s)

    def _forget(self) -> None:
        """Fill the history with the present, as if the robot had always been there."""
        self._history.fill(self._model.sense(LIMP))

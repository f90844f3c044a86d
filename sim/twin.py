# SPDX-License-Identifier: MIT
"""PyBulletRobot: the Minitaur's twin, a `Robot` in process, with motors, latency and noise.

Each physics step: PD control on delayed encoders, PWM, torque with back-EMF, Bullet, sensors to
the history. `read` returns the history `sensor_latency_s` ago, plus noise. Without noise and
latency this is bullet3's Minitaur bit for bit (`tests/sim/test_reference.py`).

Invariant: only its motors move the twin. `place` works before the first physics step and never
after; `carry` works only for ablations that ask for it.
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

MAX_SPEED_M_S = 50.0  # at a higher speed the physics has diverged
_N_NOISY = 31


class SimulationDiverged(RobotError):  # noqa: N818 - says what happened
    """The physics diverged; the state of the twin is meaningless."""


@dataclass(frozen=True)
class TrueState:
    """Exact state of the simulation, which no robot can measure; for tests, reports and videos.

    Attributes:
        position_m: (3,) of the trunk, world frame.
        quaternion_xyzw: (4,) attitude of the trunk, body to world.
        velocity_m_s: (3,) of the trunk, world frame.
        angular_velocity_rad_s: (3,) of the trunk, world frame.
        motor_angle_rad: (8,), order and signs of `hardware.body`.
        motor_velocity_rad_s: (8,).
        motor_torque_nm: (8,) as a board estimates it.
    """

    position_m: FloatArray
    quaternion_xyzw: FloatArray
    velocity_m_s: FloatArray
    angular_velocity_rad_s: FloatArray
    motor_angle_rad: FloatArray
    motor_velocity_rad_s: FloatArray
    motor_torque_nm: FloatArray


class PyBulletRobot:
    """The twin: a `Robot` whose time passes only in `advance`, and a `PoseSource` of true poses.

    Args:
        terrain: ground to build.
        settings: physics, latencies, noise, battery.
        body: stance, limits and gains.
        seed: random seed of the sensor noise.
        gui: open PyBullet's window; needs a display.
        carried: allow `carry`; for ablations only.

    Attributes:
        terrain: as given.
        settings: as given.
        ground_bodies: PyBullet's body ids of the ground.

    Raises:
        sim.terrain.TerrainError: PyBullet can't build the terrain.
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
        self._history = History(longest_s=max(s.sensor_latency_s, s.pd_latency_s), dt_s=self._dt_s)
        self._pd_latency = self._history.latency(s.pd_latency_s)
        self._latency = self._history.latency(s.sensor_latency_s)
        self._latency_before = self._history.latency(s.sensor_latency_s + self._dt_s)
        self._forget()

    # -- the Robot protocol -------------------------------------------------------------------

    @property
    def body(self) -> Body:
        """Stance, limits and gains of the robot."""
        return self._body

    def read(self) -> RobotState:
        """The sensor readings of `sensor_latency_s` ago, with noise; never raises."""
        s = self.settings
        now = self._history.sample(self._latency).read()
        before = self._history.sample(self._latency_before)
        # Bullet returns velocities in the world frame; gyro and accelerometer use the body frame.
        attitude = now.quaternion_xyzw
        gyro = rotated_inverse(attitude, now.angular_velocity_rad_s)
        ax, ay, az = (
            (new - old) / self._dt_s
            for new, old in zip(now.velocity_m_s, before.velocity_m_s, strict=True)
        )
        felt = rotated_inverse(attitude, (ax, ay, az + GRAVITY_M_S2))
        exact = (*now.angle_rad, *now.velocity_rad_s, *now.torque_nm, *attitude, *gyro)
        # Floats, and one array for all sensors at the end: a NumPy call costs as much as all of
        # them, and five times as much after a physics step, which evicts the caches.
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
        """Take new targets; returns the command unchanged.

        Raises:
            ValueError: a target or gain is not finite, or there are not 8 targets.
        """
        self._motors.command(command, self.time_s)
        return command

    def stop(self, how: Stop) -> None:
        """SETTLE damps for half a second, then goes limp; CUT goes limp at once."""
        self._motors.stop(how, self.time_s)

    def close(self) -> None:
        """End the simulation; safe to call twice."""
        if self._client >= 0:
            with contextlib.suppress(pybullet.error):  # its window was closed
                pybullet.disconnect(physicsClientId=self._client)
            self._client = -1

    # -- only in the twin ----------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        """Simulated time since the start, s."""
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
        """Link indices of the two shanks of each leg, whose joined ends are the foot."""
        return self._model.foot_links

    @property
    def shaft_torque_nm(self) -> FloatArray:
        """True shaft torques in the last physics step, (8,), order and signs of `hardware.body`."""
        return np.array(turned(self._motors.torque_nm))

    @property
    def motor_current_a(self) -> FloatArray:
        """Magnitudes of the motor currents in the last physics step, (8,)."""
        return np.array(self._motors.current_a)

    def place(
        self, position_m: FloatArray, quaternion_xyzw: FloatArray, motor_rad: FloatArray | None
    ) -> None:
        """Place the twin before its first physics step, as a person does by hand.

        Args:
            position_m: (3,) of the trunk, world frame.
            quaternion_xyzw: (4,) attitude of the trunk, body to world.
            motor_rad: (8,) motor angles; None keeps them.

        Raises:
            RobotError: time has passed already; only the motors may move the twin now.
        """
        if self._step_count:
            raise RobotError("the twin was placed already and only moves by its motors now")
        self._model.place(position_m, quaternion_xyzw)
        if motor_rad is not None:
            self._model.reset_legs(motor_rad)
        self._forget()

    def carry(self, pose: Pose2D) -> None:
        """Set the twin on its feet at another place, at rest, as no robot can by itself.

        For ablations that measure the worth of scheduler and stand-up. Motor temperatures and time
        stay.

        Args:
            pose: where to put it; its time is ignored.

        Raises:
            RobotError: the twin was built without `carried`.
        """
        if not self._carried:
            raise RobotError("this twin only moves by its motors; only an ablation's is carried")
        self._model.set_down(pose.x_m, pose.y_m, pose.yaw_rad, self._body.stance_motor_rad())
        self._motors.let_go()
        self._forget()

    def advance(self, duration_s: float) -> None:
        """Simulate `duration_s`, rounded to physics steps, at least one.

        Raises:
            SimulationDiverged: the physics diverged.
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
        """The exact state, without latency and noise."""
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
        """The exact pose on the floor; the twin is its own `PoseSource`."""
        newest = self._history.newest
        _, _, yaw = roll_pitch_yaw(np.array(newest.quaternion_xyzw))
        return Pose2D(newest.position_m[0], newest.position_m[1], yaw, self.time_s)

    def drive_by(self, source: DutySource) -> None:
        """Let an external controller drive the motors, such as the emulated board's.

        Args:
            source: called in every physics step with the sensors of `pd_latency_s` ago; returns the
                PWM duty of each motor in [-1, 1] and the largest torque magnitude, N m.
        """
        self._duty_source = source

    # -- its state, for an exact resume -----------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that changes over time, as JSON values.

        Bullet does not export its contact caches. For a run and its resumption to stay equal, the
        run itself must continue from this state too: `robot.load_state_dict(robot.state_dict())`.
        """
        return {
            "steps": self._step_count,
            "model": self._model.state_dict(),
            "history": self._history.state_dict(),
            **self._random.state_dict(),
            **self._motors.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Rebuild the world and restore `state_dict`; equal states have equal futures.

        Raises:
            KeyError: a value is missing.
            ValueError: the state does not fit this twin.
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
        """Advance the motor controllers by a step; return the torques that they report."""
        history, joints = self._history, self._history.newest.joints
        if self._duty_source is not None:
            duty, cap_nm = self._duty_source(history.sample(self._pd_latency).read())
            return self._motors.step_by(turned(duty), joints, cap_nm)
        felt = history.joints(self._pd_latency)
        return self._motors.step(felt, joints, self._step_count * self._dt_s)

    def _forget(self) -> None:
        """Fill the history with the present, as if the robot had been at rest before."""
        self._history.fill(self._model.sense(LIMP))

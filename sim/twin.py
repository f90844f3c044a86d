# SPDX-License-Identifier: MIT
"""PyBulletRobot: the Minitaur's twin, a `Robot` in process, with motors, latency and noise.

The URDF is PyBullet's own default Minitaur (`pybullet_data/quadruped/minitaur.urdf`, 6 kg); its
model code is bullet3's `pybullet_envs/minitaur/envs/minitaur.py`, re-done with array calls and
checked against it in `tests/sim/test_reference.py`. The twin is moved by its motors only: `place`
works before the first physics step and never after.

Each physics step: PD on delayed encoders, PWM, torque with back-EMF, Bullet, sensors to the history.
A read sees the history `sensor_latency_s` ago, plus noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pybullet
import pybullet_data

from hardware.body import MINITAUR, N_MOTORS, URDF_MOTOR_SIGN, Body
from hardware.robot import Fault, MotorCommand, Pose2D, RobotError, RobotState, Stop
from hardware.rotation import roll_pitch_yaw, rotate_inverse
from sim.motor import MotorModel, OverheatGuard, ThermalModel
from sim.terrain import GRAVITY_M_S2, Terrain, build

FloatArray = npt.NDArray[np.float64]

START_HEIGHT_M = 0.2  # bullet3 INIT_POSITION; motors at pi/2
START_MOTOR_RAD = math.pi / 2
START_KNEE_RAD = -2.1834
KNEE_POINT_RIGHT = (0.0, 0.005, 0.2)  # where the two shanks of a leg are joined, bullet3
KNEE_POINT_LEFT = (0.0, 0.01, 0.2)
SETTLE_S = 0.5  # damped sit before the motors go limp
SETTLE_KD = 0.02

# Rows of the sensor history: 8 angles, 8 velocities, 8 torques, 4 quaternion, 3 angular velocity,
# 3 linear velocity (world), 3 position (world).
_ANGLE = slice(0, 8)
_VELOCITY = slice(8, 16)
_TORQUE = slice(16, 24)
_QUATERNION = slice(24, 28)
_ANGULAR = slice(28, 31)
_LINEAR = slice(31, 34)
_POSITION = slice(34, 37)
_WIDTH = 37


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
    """

    def __init__(
        self,
        terrain: Terrain | None = None,
        settings: TwinSettings | None = None,
        body: Body = MINITAUR,
        seed: int = 0,
        gui: bool = False,
    ) -> None:
        self._body = body
        self.settings = settings or TwinSettings()
        self._rng = np.random.default_rng(seed)
        self._motor = MotorModel(self.settings.battery_v, strength=self.settings.strength)
        self._guard = OverheatGuard(N_MOTORS, body.overheat_torque_nm, body.overheat_s)
        self._heat = ThermalModel(N_MOTORS)
        self._dt_s = 1.0 / self.settings.physics_rate_hz
        self._client = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        self._step_count = 0
        self._command: MotorCommand | None = None
        self._command_until_s = 0.0
        self._stopping_until_s: float | None = None
        self._build_world(terrain or Terrain())
        latency_s = max(self.settings.sensor_latency_s, self.settings.pd_latency_s)
        self._history = np.zeros((math.ceil(latency_s / self._dt_s) + 2, _WIDTH))
        self._record_sensors(np.zeros(N_MOTORS), fill=True)

    # -- the Robot protocol -------------------------------------------------------------------

    @property
    def body(self) -> Body:
        """Its body."""
        return self._body

    def read(self) -> RobotState:
        """The sensors `sensor_latency_s` ago, with noise."""
        s = self.settings
        row = self._delayed(s.sensor_latency_s)
        older = self._delayed(s.sensor_latency_s + self._dt_s)
        noise = self._rng.standard_normal(30)
        quaternion = row[_QUATERNION] + 0.5 * s.attitude_noise_rad * noise[24:28]
        quaternion = quaternion / math.sqrt(float(quaternion @ quaternion))
        specific_force = (row[_LINEAR] - older[_LINEAR]) / self._dt_s
        specific_force[2] += GRAVITY_M_S2
        # Bullet gives the angular velocity in the world frame; a gyro measures in the body's.
        gyro = rotate_inverse(row[_QUATERNION], row[_ANGULAR])
        return RobotState(
            time_s=self.time_s - s.sensor_latency_s,
            motor_angle_rad=row[_ANGLE] + s.motor_angle_noise_rad * noise[0:8],
            motor_velocity_rad_s=row[_VELOCITY] + s.motor_velocity_noise_rad_s * noise[8:16],
            motor_torque_nm=row[_TORQUE] + s.motor_torque_noise_nm * noise[16:24],
            motor_temperature_c=self._heat.core_c,
            attitude_xyzw=quaternion,
            angular_velocity_rad_s=gyro
            + s.angular_velocity_noise_rad_s * self._rng.standard_normal(3),
            acceleration_m_s2=rotate_inverse(row[_QUATERNION], specific_force),
            battery_v=s.battery_v,
            faults=Fault.OVERHEAT if self._guard.any_off else Fault.NONE,
            age_s=s.sensor_latency_s,
        )

    def command(self, command: MotorCommand) -> MotorCommand:
        """Take new targets; a command that is not finite is refused.

        Raises:
            ValueError: a target or gain is not finite.
        """
        if not (
            np.isfinite(command.angle_rad).all()
            and math.isfinite(command.kp)
            and math.isfinite(command.kd)
        ):
            raise ValueError("motor command is not finite; the twin, like a board, refuses it")
        self._command = command
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
        return self._quadruped

    @property
    def foot_links(self) -> tuple[tuple[int, int], ...]:
        """Per leg the two link indices whose ends make the foot."""
        return self._foot_links

    def place(
        self, position_m: FloatArray, quaternion_xyzw: FloatArray, motor_rad: FloatArray | None
    ) -> None:
        """The first placement, by a person's hands.

        Raises:
            RobotError: the twin has moved already; nothing but its motors may move it now.
        """
        if self._step_count:
            raise RobotError("the twin was placed already and only moves by its motors now")
        pybullet.resetBasePositionAndOrientation(
            self._quadruped, position_m, quaternion_xyzw, physicsClientId=self._client
        )
        if motor_rad is not None:
            self._reset_legs(motor_rad)
        self._record_sensors(np.zeros(N_MOTORS), fill=True)

    def advance(self, duration_s: float) -> None:
        """Let time pass: a whole number of physics steps, at least one.

        Raises:
            SimulationDiverged: the physics blew up.
        """
        torque = np.zeros(N_MOTORS)
        for _ in range(max(1, round(duration_s / self._dt_s))):
            torque = self._apply_motors()
            pybullet.stepSimulation(physicsClientId=self._client)
            self._step_count += 1
            self._record_sensors(torque)
        self._heat.advance(torque, duration_s)
        newest = self._history[0]
        if not np.isfinite(newest).all() or float(np.abs(newest[_LINEAR]).max()) > 50.0:
            raise SimulationDiverged(
                f"the twin's physics diverged at t = {self.time_s:.3f} s; lower the contact "
                "stiffness or raise sim.physics_rate_hz"
            )

    def true_state(self) -> TrueState:
        """Where the twin really is, without latency and noise."""
        row = self._history[0].copy()
        return TrueState(
            row[_POSITION],
            row[_QUATERNION],
            row[_LINEAR],
            row[_ANGULAR],
            row[_ANGLE],
            row[_VELOCITY],
            row[_TORQUE],
        )

    def latest(self) -> Pose2D:
        """The true pose on the floor: the twin is its own `PoseSource`."""
        row = self._history[0]
        _, _, yaw = roll_pitch_yaw(row[_QUATERNION])
        return Pose2D(float(row[34]), float(row[35]), yaw, self.time_s)

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
        urdf = Path(pybullet_data.getDataPath()) / "quadruped" / "minitaur.urdf"
        self._quadruped = pybullet.loadURDF(str(urdf), [0, 0, START_HEIGHT_M], physicsClientId=c)
        joints = [
            pybullet.getJointInfo(self._quadruped, j, physicsClientId=c)
            for j in range(pybullet.getNumJoints(self._quadruped, physicsClientId=c))
        ]
        index = {info[1].decode(): info[0] for info in joints}
        self._motors = [index[name] for name in self._body.motor_names]
        self._knees = [
            index[name.replace("motor_", "knee_").replace("_joint", "_link")]
            for name in self._body.motor_names
        ]
        self._foot_links = tuple((self._knees[2 * i], self._knees[2 * i + 1]) for i in range(4))
        self._configure_dynamics(len(joints))
        self._reset_legs(np.full(N_MOTORS, START_MOTOR_RAD))
        if terrain.kind == "soft":
            self._one_shank_per_foot()
        for left, right in self._foot_links:
            pybullet.createConstraint(
                self._quadruped,
                right,
                self._quadruped,
                left,
                pybullet.JOINT_POINT2POINT,
                [0, 0, 0],
                KNEE_POINT_RIGHT,
                KNEE_POINT_LEFT,
                physicsClientId=c,
            )

    def _one_shank_per_foot(self) -> None:
        """On soft ground only the longer shank of each foot touches it; the other hangs on that.

        Contact stiffness counts per contact point, so that two shanks sink half as deep as one; and
        contacts are what a physics step costs. The other shank can't sink in by itself: it spans
        from the foot to the knee, and both of these still touch.
        """
        for body in self.ground_bodies:
            for left, _ in self._foot_links:
                pybullet.setCollisionFilterPair(
                    self._quadruped, body, left, -1, 0, physicsClientId=self._client
                )

    def _configure_dynamics(self, n_joints: int) -> None:
        c = self._client
        for link in range(-1, n_joints):
            pybullet.changeDynamics(
                self._quadruped,
                link,
                linearDamping=0,
                angularDamping=0,
                jointDamping=0,
                physicsClientId=c,
            )
        if self.settings.mass_scale != 1.0:
            mass = pybullet.getDynamicsInfo(self._quadruped, -1, physicsClientId=c)[0]
            pybullet.changeDynamics(
                self._quadruped, -1, mass=mass * self.settings.mass_scale, physicsClientId=c
            )
        # Bullet puts a velocity motor on every joint; without force it is out of the way.
        moving = [*self._motors, *self._knees]
        pybullet.setJointMotorControlArray(
            self._quadruped,
            moving,
            pybullet.VELOCITY_CONTROL,
            targetVelocities=[0.0] * len(moving),
            forces=[0.0] * len(moving),
            physicsClientId=c,
        )

    def _reset_legs(self, motor_rad: FloatArray) -> None:
        """Set motors and the knees that close the five-bar loops (first placement only)."""
        for leg in range(4):
            first, second = (float(motor_rad[2 * leg]), float(motor_rad[2 * leg + 1]))
            # Both shanks meet: with half angle e the knee bends by asin(l1 sin e / l2) + pi - e.
            extension = 0.5 * (first + second)
            bend = math.asin(min(1.0, 0.11 / 0.2 * math.sin(extension))) + math.pi - extension
            knee = START_KNEE_RAD if abs(extension - START_MOTOR_RAD) < 1e-9 else -bend
            for motor, angle in ((2 * leg, first), (2 * leg + 1, second)):
                sign = URDF_MOTOR_SIGN[motor]
                for joint, value in ((self._motors[motor], angle), (self._knees[motor], knee)):
                    pybullet.resetJointState(
                        self._quadruped, joint, sign * value, 0.0, physicsClientId=self._client
                    )

    def _apply_motors(self) -> FloatArray:
        """One motor-controller step; returns the torque the board would report, (8,) N m."""
        row = self._delayed(self.settings.pd_latency_s)
        true_velocity = self._history[0, _VELOCITY]
        pwm = self._pwm(row)
        torque = self._motor.torque(pwm, true_velocity) if pwm is not None else np.zeros(N_MOTORS)
        if self._command is not None:
            cap = self._command.torque_cap_nm
            torque = np.minimum(np.maximum(torque, -cap), cap)
        torque = self._guard.apply(torque, self._dt_s)
        pybullet.setJointMotorControlArray(
            self._quadruped,
            self._motors,
            pybullet.TORQUE_CONTROL,
            forces=(torque * URDF_MOTOR_SIGN).tolist(),
            physicsClientId=self._client,
        )
        return self._motor.observed_torque(pwm) if pwm is not None else torque

    def _pwm(self, row: FloatArray) -> FloatArray | None:
        """Duty by mode: position, damped (stopping or command expired), or None for limp."""
        command, now_s = self._command, self.time_s
        if command is not None:
            if now_s < self._command_until_s:
                return self._motor.pwm(
                    command.angle_rad, row[_ANGLE], row[_VELOCITY], command.kp, command.kd
                )
            # The board's own watchdog: damp, then limp (docs: validity of a command).
            self.stop(Stop.SETTLE)
        if self._stopping_until_s is not None and now_s < self._stopping_until_s:
            return self._motor.pwm(row[_ANGLE], row[_ANGLE], row[_VELOCITY], 0.0, SETTLE_KD)
        return None

    def _record_sensors(self, torque_nm: FloatArray, fill: bool = False) -> None:
        c = self._client
        position, quaternion = pybullet.getBasePositionAndOrientation(
            self._quadruped, physicsClientId=c
        )
        linear, angular = pybullet.getBaseVelocity(self._quadruped, physicsClientId=c)
        states = pybullet.getJointStates(self._quadruped, self._motors, physicsClientId=c)
        history = self._history
        if fill:
            history[:] = 0.0
        else:
            history[1:] = history[:-1]
        row = history[0]
        row[_ANGLE] = [state[0] for state in states]
        row[_VELOCITY] = [state[1] for state in states]
        row[_ANGLE] *= URDF_MOTOR_SIGN
        row[_VELOCITY] *= URDF_MOTOR_SIGN
        row[_TORQUE] = torque_nm
        # A quaternion and its negative are the same attitude; interpolation needs one sheet.
        sheet = -1.0 if not fill and float(np.dot(history[1, _QUATERNION], quaternion)) < 0 else 1.0
        row[_QUATERNION] = quaternion
        row[_QUATERNION] *= sheet
        row[_ANGULAR] = angular
        row[_LINEAR] = linear
        row[_POSITION] = position
        if fill:
            history[1:] = row

    def _delayed(self, latency_s: float) -> FloatArray:
        """(37,) a copy of the history `latency_s` ago, interpolated between physics steps."""
        steps = latency_s / self._dt_s
        whole = min(int(steps + 1e-9), len(self._history) - 1)
        part = steps - whole
        if part < 1e-6 or whole + 1 >= len(self._history):
            return self._history[whole].copy()
        return (1.0 - part) * self._history[whole] + part * self._history[whole + 1]

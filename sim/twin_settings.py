# SPDX-License-Identifier: MIT
"""Settings of the twin: rates, latencies, noise, battery, deviations of the body."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TwinSettings:
    """How the twin differs from an ideal robot (Tan 2018, arXiv 1804.10332, and bullet3).

    All values come from the configuration (section `sim`); there are no defaults here.

    Attributes:
        physics_rate_hz: Bullet steps and motor PD steps per second.
        solver_iterations: iterations of Bullet's constraint solver (bullet3: 300 / action repeat).
        sensor_latency_s: from measurement to `read` (Tan 2018: 15 to 19 ms through the TX2).
        pd_latency_s: from encoder to motor controller (bullet3: 2 to 3 ms).
        motor_angle_noise_rad: standard deviation, per read.
        motor_velocity_noise_rad_s: standard deviation, per read.
        motor_torque_noise_nm: standard deviation, per read.
        attitude_noise_rad: standard deviation of roll, pitch and yaw, per read.
        angular_velocity_noise_rad_s: standard deviation, per read.
        battery_v: bus voltage.
        strength: factor on the torque of the motors.
        mass_scale: factor on the trunk's mass.
    """

    physics_rate_hz: int
    solver_iterations: int
    sensor_latency_s: float
    pd_latency_s: float
    motor_angle_noise_rad: float
    motor_velocity_noise_rad_s: float
    motor_torque_noise_nm: float
    attitude_noise_rad: float
    angular_velocity_noise_rad_s: float
    battery_v: float
    strength: float
    mass_scale: float

    def noise(self) -> list[float]:
        """Standard deviations of 31 readings: 8 angles, velocities, torques, quaternion, gyro."""
        # An error of half an angle in each component of a quaternion is that angle about each axis.
        sizes = (
            (8, self.motor_angle_noise_rad),
            (8, self.motor_velocity_noise_rad_s),
            (8, self.motor_torque_noise_nm),
            (4, 0.5 * self.attitude_noise_rad),
            (3, self.angular_velocity_noise_rad_s),
        )
        return [size for n, size in sizes for _ in range(n)]

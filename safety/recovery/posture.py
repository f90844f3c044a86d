# SPDX-License-Identifier: MIT
"""Posture tests of the stand-up, from IMU and encoders: how the trunk lies, where the legs are.

All functions are pure functions of a measurement, the body and the script's settings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body, motor_to_leg
from walkhome.hardware.robot import Implausible, RobotState
from walkhome.hardware.rotation import roll_pitch_yaw, world_z_in_body
from walkhome.safety.recovery.moves import StandUpSettings

FloatArray = npt.NDArray[np.float64]

RANGE_MARGIN_RAD = 0.1


def up_cos(state: RobotState) -> float:
    """Cosine of the trunk's tilt: 1 upright or on the belly, 0 on a side, -1 on the back."""
    return float(world_z_in_body(state.attitude_xyzw)[2])


def upright(state: RobotState, settings: StandUpSettings) -> bool:
    """True if the robot is on its feet or its belly."""
    return up_cos(state) > settings.upright_cos


def leans(state: RobotState, settings: StandUpSettings) -> bool:
    """True if the trunk lies on a side or on a leg: not flat on the belly, not on the back."""
    return -settings.back_cos < up_cos(state) < settings.flat_cos


def calm(state: RobotState, settings: StandUpSettings) -> bool:
    """True if the trunk's angular velocity is small."""
    return bool(np.abs(state.angular_velocity_rad_s).max() < settings.calm_rad_s)


def falling(state: RobotState, settings: StandUpSettings) -> bool:
    """True while the trunk is moving or at a tilt that is not statically stable."""
    askew = leans(state, settings) and abs(up_cos(state)) > settings.side_cos
    return askew or not calm(state, settings)


def near_stance(state: RobotState, stance_rad: FloatArray, settings: StandUpSettings) -> bool:
    """True if the motors may go straight to the stance, (8,) rad: level, and near it."""
    way_rad = np.abs(stance_rad - state.motor_angle_rad).max()
    return bool(up_cos(state) > settings.near_cos and way_rad < settings.near_rad)


def out_of_range(state: RobotState, body: Body) -> bool:
    """True if a leg is outside the range of the walk, by its encoders."""
    swing, extension = motor_to_leg(state.motor_angle_rad)
    return bool(
        (np.abs(swing) > 0.5 * np.pi).any()
        or (extension < body.extension_min_rad - RANGE_MARGIN_RAD).any()
        or (extension > body.extension_max_rad + RANGE_MARGIN_RAD).any()
    )


def stands(
    state: RobotState, stance_rad: FloatArray, target_rad: FloatArray, settings: StandUpSettings
) -> bool:
    """True if the robot stands: level, at rest, in the stance, legs loaded, balancing finished.

    Args:
        state: the newest measurement.
        stance_rad: (8,) motor angles of the stance.
        target_rad: (8,) commanded motor angles.
        settings: thresholds of the script.
    """
    roll, pitch, _ = roll_pitch_yaw(state.attitude_xyzw)
    error = stance_rad - state.motor_angle_rad
    _, sag = motor_to_leg(error)
    return bool(
        upright(state, settings)
        and max(abs(roll), abs(pitch)) < settings.level_rad
        and calm(state, settings)
        and np.abs(error).max() < settings.holds_rad
        and np.abs(stance_rad - target_rad).max() < settings.balanced_rad
        and sag.sum() > settings.carries_rad
    )


def check_finite(state: RobotState) -> None:
    """Refuse a measurement that is not finite.

    Raises:
        Implausible: a reading is NaN or infinite.
    """
    readings = {
        "motor angles": state.motor_angle_rad,
        "motor velocities": state.motor_velocity_rad_s,
        "attitude": state.attitude_xyzw,
        "angular velocity": state.angular_velocity_rad_s,
    }
    for name, value in readings.items():
        if not np.isfinite(value).all():
            raise Implausible(f"stand-up: {name} not finite ({value}); stop the robot")

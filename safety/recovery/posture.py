# SPDX-License-Identifier: MIT
"""What the sensors say about a robot that stands up: how it lies, and where its legs are.

All functions are pure: of a measurement, the body and the numbers of the script.
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
    """Cosine of the tilt: 1 on its feet or its belly, 0 on a side, -1 on its back."""
    return float(world_z_in_body(state.attitude_xyzw)[2])


def upright(state: RobotState, settings: StandUpSettings) -> bool:
    """Whether its belly, or its feet, are below."""
    return up_cos(state) > settings.upright_cos


def leans(state: RobotState, settings: StandUpSettings) -> bool:
    """Whether it lies neither flat on its belly nor on its back: on a side, or on a leg."""
    return -settings.back_cos < up_cos(state) < settings.flat_cos


def calm(state: RobotState, settings: StandUpSettings) -> bool:
    """Whether the trunk is at rest."""
    return bool(np.abs(state.angular_velocity_rad_s).max() < settings.calm_rad_s)


def falling(state: RobotState, settings: StandUpSettings) -> bool:
    """Whether the trunk moves, or leans as no robot can lie: then it is about to."""
    askew = leans(state, settings) and abs(up_cos(state)) > settings.side_cos
    return askew or not calm(state, settings)


def near_stance(state: RobotState, stance_rad: FloatArray, settings: StandUpSettings) -> bool:
    """Whether it may just ease to the stance, (8,) motor angles."""
    way_rad = np.abs(stance_rad - state.motor_angle_rad).max()
    return bool(up_cos(state) > settings.near_cos and way_rad < settings.near_rad)


def out_of_range(state: RobotState, body: Body) -> bool:
    """Whether a leg is where no walk brings it."""
    swing, extension = motor_to_leg(state.motor_angle_rad)
    return bool(
        (np.abs(swing) > 0.5 * np.pi).any()
        or (extension < body.extension_min_rad - RANGE_MARGIN_RAD).any()
        or (extension > body.extension_max_rad + RANGE_MARGIN_RAD).any()
    )


def stands(
    state: RobotState, stance_rad: FloatArray, target_rad: FloatArray, settings: StandUpSettings
) -> bool:
    """Whether it stands: level, calm, in the stance, its weight on its legs, done with balancing.

    Args:
        state: the newest measurement.
        stance_rad: (8,) motor angles to be in.
        target_rad: (8,) what the motors are told.
        settings: numbers of the script.
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
    """Refuses a measurement that is none.

    Raises:
        Implausible: something in it is not finite.
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

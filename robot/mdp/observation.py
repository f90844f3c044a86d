# SPDX-License-Identifier: MIT
"""The policy's observation: the last frames of posture, attitude and filtered actions.

    RobotState, filtered action -> frame (21,) -> the last frames, oldest first (frames * 21,)

One frame holds 8 motor angles relative to the stance, roll, pitch, roll rate, pitch rate, yaw rate
and 8 filtered actions, each scaled to about unit range (`ObservationLayout`). Past actions let the
policy account for latency (Haarnoja et al.
2019, arXiv 1812.11103; Ibarz et al. 2021). The layout is part of every
saved policy, and a policy with another layout is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.robot import RobotState
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.config.sections import ControlConfig

FloatArray = npt.NDArray[np.float64]

_LEGS = ("fl", "bl", "fr", "br")
MOTOR_COMPONENTS = tuple(f"{leg}.{motor}" for leg in _LEGS for motor in ("first", "second"))
"""Names of the eight motors, in the order of every array with one value per motor."""
ACTION_COMPONENTS = tuple(f"{leg}.{part}" for part in ("swing", "extension") for leg in _LEGS)
"""Names of an action's eight components, in order."""
FRAME_COMPONENTS = (
    *MOTOR_COMPONENTS,
    *("roll", "pitch", "roll_rate", "pitch_rate", "yaw_rate"),
    *(f"filtered.{name}" for name in ACTION_COMPONENTS),
)
"""Names of a frame's components, in order."""

FRAME_SIZE = len(FRAME_COMPONENTS)
N_ACTIONS = len(ACTION_COMPONENTS)


@dataclass(frozen=True)
class ObservationLayout:
    """Number of frames and scales of an observation; part of a policy's metadata.

    Attributes:
        frames: number of control steps (`control.history_frames`), oldest first.
        angle_scale: multiplies motor angles relative to the stance, 1/rad.
        attitude_scale: multiplies roll and pitch, 1/rad.
        rate_scale: multiplies angular rates, s/rad.
    """

    frames: int
    angle_scale: float = 2.0
    attitude_scale: float = 2.0
    rate_scale: float = 0.25

    @property
    def size(self) -> int:
        """Length of the observation vector."""
        return self.frames * FRAME_SIZE

    def to_json(self) -> dict[str, object]:
        """The layout as JSON-able metadata of a policy."""
        fields = ["motor_angle[8]", "roll", "pitch", "roll_rate", "pitch_rate", "yaw_rate"]
        return {**asdict(self), "frame": [*fields, "filtered_action[8]"], "order": "oldest first"}


def observation_layout(control: ControlConfig) -> ObservationLayout:
    """The layout for the section `control`."""
    return ObservationLayout(frames=control.history_frames)


class Observer:
    """Builds observations from measurements. Returned arrays are new and belong to the caller.

    Args:
        layout: number of frames and scales.
        body: the robot's geometry; its stance is the zero of the motor angles.
    """

    def __init__(self, layout: ObservationLayout, body: Body) -> None:
        self.layout = layout
        self._stance_rad = body.stance_motor_rad()
        self._frames = np.zeros((layout.frames, FRAME_SIZE))

    def frame(self, state: RobotState, filtered_action: FloatArray) -> FloatArray:
        """One frame, without changing the stack.

        Args:
            state: the newest measurement.
            filtered_action: (8,) action of the last control step, after the filter.

        Returns:
            (21,), scaled, ordered as `FRAME_COMPONENTS`.
        """
        roll, pitch, _ = roll_pitch_yaw(state.attitude_xyzw)
        out = np.empty(FRAME_SIZE)
        out[0:8] = (state.motor_angle_rad - self._stance_rad) * self.layout.angle_scale
        out[8] = roll * self.layout.attitude_scale
        out[9] = pitch * self.layout.attitude_scale
        out[10:13] = state.angular_velocity_rad_s * self.layout.rate_scale
        out[13:21] = filtered_action
        return out

    def reset(self, state: RobotState, filtered_action: FloatArray) -> FloatArray:
        """Fill all frames with the current one and return the observation, (frames * 21,)."""
        self._frames[:] = self.frame(state, filtered_action)
        return self._stacked()

    def observe(self, state: RobotState, filtered_action: FloatArray) -> FloatArray:
        """Push the current frame, drop the oldest, and return the observation, (frames * 21,)."""
        self._frames[:-1] = self._frames[1:]
        self._frames[-1] = self.frame(state, filtered_action)
        return self._stacked()

    def _stacked(self) -> FloatArray:
        return np.array(self._frames).reshape(-1)

# SPDX-License-Identifier: MIT
"""What the policy sees: the last frames of posture, attitude and filtered actions, unit range.

One frame (21): 8 motor angles relative to the stance, roll, pitch, roll rate, pitch rate, yaw rate,
8 filtered actions. Old actions in the observation make latency visible (Haarnoja 2019; Ibarz 2021).
The layout is written into every saved policy; a policy of another layout is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.robot import RobotState
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.config.schema import ControlConfig

FloatArray = npt.NDArray[np.float64]

FRAME_SIZE = 21
N_ACTIONS = 8


@dataclass(frozen=True)
class ObservationLayout:
    """How numbers become an observation; part of a policy's metadata.

    Attributes:
        frames: how many control steps, oldest first.
        angle_scale: multiplies motor angles relative to the stance, 1/rad.
        attitude_scale: multiplies roll and pitch, 1/rad.
        rate_scale: multiplies angular rates, s/rad.
    """

    frames: int = 6
    angle_scale: float = 2.0
    attitude_scale: float = 2.0
    rate_scale: float = 0.25

    @property
    def size(self) -> int:
        """Length of the observation."""
        return self.frames * FRAME_SIZE

    def to_json(self) -> dict[str, object]:
        """For the policy's metadata."""
        fields = ["motor_angle[8]", "roll", "pitch", "roll_rate", "pitch_rate", "yaw_rate"]
        return {**asdict(self), "frame": [*fields, "filtered_action[8]"], "order": "oldest first"}


def observation_layout(control: ControlConfig) -> ObservationLayout:
    """The layout that a configuration asks for."""
    return ObservationLayout(frames=control.history_frames)


class Observer:
    """Stacks frames. The returned array is fresh each time and belongs to the caller."""

    def __init__(self, layout: ObservationLayout, body: Body) -> None:
        self.layout = layout
        self._stance_rad = body.stance_motor_rad()
        self._frames = np.zeros((layout.frames, FRAME_SIZE))

    def frame(self, state: RobotState, filtered_action: FloatArray) -> FloatArray:
        """(21,) one frame.

        Args:
            state: newest measurement.
            filtered_action: (8,) the action that led here, after the filter.
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
        """(frames * 21,) an observation whose whole past is this moment."""
        self._frames[:] = self.frame(state, filtered_action)
        return self._stacked()

    def observe(self, state: RobotState, filtered_action: FloatArray) -> FloatArray:
        """(frames * 21,) the observation with one more frame."""
        self._frames[:-1] = self._frames[1:]
        self._frames[-1] = self.frame(state, filtered_action)
        return self._stacked()

    def _stacked(self) -> FloatArray:
        return np.array(self._frames).reshape(-1)

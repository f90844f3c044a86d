# SPDX-License-Identifier: MIT
"""What the twin's sensors saw in the last physics steps, and what of it is known after a latency.

The history keeps joints as PyBullet gives them, in the URDF's signs, because a sample comes in
every physics step and few are read. `Sample` is for who reads, in the signs of `hardware.body`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from walkhome.hardware.body import URDF_MOTOR_SIGN

# Of each motor: angle, rad, rate, rad/s, and perhaps more.
Joints = Sequence[Sequence[float]]

SIGN: tuple[float, ...] = tuple(float(sign) for sign in URDF_MOTOR_SIGN)


class Sample(NamedTuple):
    """All sensors at one physics step, exact; world frame where not said otherwise."""

    angle_rad: Sequence[float]  # 8
    velocity_rad_s: Sequence[float]  # 8
    torque_nm: Sequence[float]  # 8, as the board estimates it
    quaternion_xyzw: Sequence[float]
    angular_velocity_rad_s: Sequence[float]
    velocity_m_s: Sequence[float]
    position_m: Sequence[float]


class RawSample(NamedTuple):
    """A `Sample` before anybody reads it: joints and torques in the URDF's signs."""

    joints: Joints  # 8
    torque_nm: Sequence[float]  # 8, as the board estimates it
    quaternion_xyzw: Sequence[float]
    angular_velocity_rad_s: Sequence[float]
    velocity_m_s: Sequence[float]
    position_m: Sequence[float]

    @staticmethod
    def of(sample: Sample) -> RawSample:
        """A sample with its signs turned back."""
        joints = list(zip(turned(sample.angle_rad), turned(sample.velocity_rad_s), strict=True))
        return RawSample(joints, turned(sample.torque_nm), *sample[3:])

    def read(self) -> Sample:
        """As the robot's own sensors tell it."""
        joints = self.joints
        return Sample(
            [sign * joint[0] for sign, joint in zip(SIGN, joints, strict=True)],
            [sign * joint[1] for sign, joint in zip(SIGN, joints, strict=True)],
            turned(self.torque_nm),
            *self[2:],
        )

    def is_finite(self) -> bool:
        """Whether every number is a number."""
        # One that is not makes the sum so.
        rest = sum(map(sum, self[1:]))
        return math.isfinite(rest + sum(joint[0] + joint[1] for joint in self.joints))


class Latency(NamedTuple):
    """So many whole physics steps, and part of one more."""

    steps: int
    part: float


class History:
    """The newest samples, as many as the longest latency needs.

    Args:
        longest_s: latency that will be asked for.
        dt_s: physics step.
    """

    def __init__(self, longest_s: float, dt_s: float) -> None:
        self._dt_s = dt_s
        # Newest first; one more for the acceleration, one for a latency between two steps.
        self._samples: deque[RawSample] = deque(maxlen=math.ceil(longest_s / dt_s) + 2)

    @property
    def length(self) -> int:
        """How many samples it holds."""
        return self._samples.maxlen or 0

    @property
    def newest(self) -> RawSample:
        """Of the last physics step."""
        return self._samples[0]

    def latency(self, seconds: float) -> Latency:
        """A time as a place in this history; the oldest sample if it is longer than that."""
        steps = seconds / self._dt_s
        whole = min(int(steps + 1e-9), self.length - 1)
        part = steps - whole
        return Latency(whole, part if part >= 1e-6 and whole + 1 < self.length else 0.0)

    def fill(self, sample: RawSample) -> None:
        """Take a sample for the whole past, as if the robot had always been there."""
        self._samples.extend([sample] * self.length)

    def add(self, sample: RawSample) -> None:
        """Put the newest in front."""
        x, y, z, w = sample.quaternion_xyzw
        a, b, c, d = self._samples[0].quaternion_xyzw
        # A quaternion and its negative are the same attitude; interpolation needs one sheet.
        if a * x + b * y + c * z + d * w < 0.0:
            sample = sample._replace(quaternion_xyzw=[-x, -y, -z, -w])
        self._samples.appendleft(sample)

    def joints(self, ago: Latency) -> Joints:
        """Angles and rates at a latency, interpolated between physics steps."""
        new = self._samples[ago.steps].joints
        if not ago.part:
            return new
        part, older = ago.part, self._samples[ago.steps + 1].joints
        return [
            _between(after[:2], before[:2], part) for after, before in zip(new, older, strict=True)
        ]

    def sample(self, ago: Latency) -> RawSample:
        """All sensors at a latency, interpolated between physics steps."""
        new = self._samples[ago.steps]
        if not ago.part:
            return new
        rest = zip(new[1:], self._samples[ago.steps + 1][1:], strict=True)
        return RawSample(self.joints(ago), *(_between(*pair, ago.part) for pair in rest))

    def state_dict(self) -> list[list[list[float]]]:
        """The samples, newest first, as the robot's own sensors tell them."""
        return [[list(part) for part in sample.read()] for sample in self._samples]

    def load_state_dict(self, state: Iterable[Sequence[Sequence[float]]]) -> None:
        """Go on from `state_dict`.

        Raises:
            ValueError: it was kept for another latency.
        """
        samples = [RawSample.of(Sample(*sample)) for sample in state]
        if len(samples) != self.length:
            raise ValueError(
                f"the twin's state has a history of {len(samples)} physics steps, its latency "
                f"needs {self.length}: resume with the configuration that saved it"
            )
        self._samples.extend(samples)


def turned(values: Sequence[float]) -> list[float]:
    """Eight numbers, one per motor, from the URDF's signs to the body's or back."""
    # Adding 0 makes 0 of -0.
    return [sign * value + 0.0 for sign, value in zip(SIGN, values, strict=True)]


def _between(new: Sequence[float], old: Sequence[float], part: float) -> list[float]:
    return [(1.0 - part) * after + part * before for after, before in zip(new, old, strict=True)]

# SPDX-License-Identifier: MIT
"""History of the twin's sensor samples over the last physics steps, read with a latency.

The history stores joints as PyBullet returns them, in the URDF's signs (`RawSample`), because every
physics step adds a sample and few are read. `RawSample.read` converts one to the signs of
`hardware.body` (`Sample`). Values between two steps are interpolated.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from walkhome.hardware.body import URDF_MOTOR_SIGN

# Per motor: angle (rad), velocity (rad/s), possibly followed by more values.
Joints = Sequence[Sequence[float]]

SIGN: tuple[float, ...] = tuple(float(sign) for sign in URDF_MOTOR_SIGN)


class Sample(NamedTuple):
    """All sensors at one physics step, without noise; vectors in the world frame."""

    angle_rad: Sequence[float]  # 8
    velocity_rad_s: Sequence[float]  # 8
    torque_nm: Sequence[float]  # 8, as the board estimates it
    quaternion_xyzw: Sequence[float]
    angular_velocity_rad_s: Sequence[float]
    velocity_m_s: Sequence[float]
    position_m: Sequence[float]


class RawSample(NamedTuple):
    """A `Sample` with joints and torques in the URDF's signs."""

    joints: Joints  # 8
    torque_nm: Sequence[float]  # 8, as the board estimates it
    quaternion_xyzw: Sequence[float]
    angular_velocity_rad_s: Sequence[float]
    velocity_m_s: Sequence[float]
    position_m: Sequence[float]

    @staticmethod
    def of(sample: Sample) -> RawSample:
        """Convert a sample back to the URDF's signs."""
        joints = list(zip(turned(sample.angle_rad), turned(sample.velocity_rad_s), strict=True))
        return RawSample(joints, turned(sample.torque_nm), *sample[3:])

    def read(self) -> Sample:
        """Convert to the signs of `hardware.body`."""
        joints = self.joints
        return Sample(
            [sign * joint[0] for sign, joint in zip(SIGN, joints, strict=True)],
            [sign * joint[1] for sign, joint in zip(SIGN, joints, strict=True)],
            turned(self.torque_nm),
            *self[2:],
        )

    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        # The sum is not finite if one of them is not.
        rest = sum(map(sum, self[1:]))
        return math.isfinite(rest + sum(joint[0] + joint[1] for joint in self.joints))


class Latency(NamedTuple):
    """A latency as whole physics steps plus a fraction of one."""

    steps: int
    part: float


class History:
    """The newest samples, as many as the longest latency needs.

    Args:
        longest_s: longest latency that will be read.
        dt_s: physics step.
    """

    def __init__(self, *, longest_s: float, dt_s: float) -> None:
        self._dt_s = dt_s
        # Newest first; one more for the acceleration, one more for interpolation.
        self._samples: deque[RawSample] = deque(maxlen=math.ceil(longest_s / dt_s) + 2)

    @property
    def length(self) -> int:
        """Number of samples that it holds."""
        return self._samples.maxlen or 0

    @property
    def newest(self) -> RawSample:
        """Sample of the last physics step."""
        return self._samples[0]

    def latency(self, seconds: float) -> Latency:
        """Convert a latency in seconds to steps, limited to the oldest sample."""
        steps = seconds / self._dt_s
        whole = min(int(steps + 1e-9), self.length - 1)
        part = steps - whole
        return Latency(whole, part if part >= 1e-6 and whole + 1 < self.length else 0.0)

    def fill(self, sample: RawSample) -> None:
        """Fill the history with one sample, as if the robot had been at rest before."""
        self._samples.extend([sample] * self.length)

    def add(self, sample: RawSample) -> None:
        """Add the newest sample."""
        x, y, z, w = sample.quaternion_xyzw
        a, b, c, d = self._samples[0].quaternion_xyzw
        # A quaternion and its negative are the same attitude; interpolation needs equal signs.
        if a * x + b * y + c * z + d * w < 0.0:
            sample = sample._replace(quaternion_xyzw=[-x, -y, -z, -w])
        self._samples.appendleft(sample)

    def joints(self, ago: Latency) -> Joints:
        """Joint angles and velocities at a latency, interpolated between physics steps."""
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
        """The samples, newest first, in the signs of `hardware.body`, as JSON values."""
        return [[list(part) for part in sample.read()] for sample in self._samples]

    def load_state_dict(self, state: Iterable[Sequence[Sequence[float]]]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the state was saved with another latency.
        """
        samples = [RawSample.of(Sample(*sample)) for sample in state]
        if len(samples) != self.length:
            raise ValueError(
                f"the twin's state has a history of {len(samples)} physics steps, but its latency "
                f"needs {self.length}; resume with the configuration that saved it"
            )
        self._samples.extend(samples)


def turned(values: Sequence[float]) -> list[float]:
    """Convert eight values, one per motor, from the URDF's signs to the body's or back."""
    # Adding 0 makes 0 of -0.
    return [sign * value + 0.0 for sign, value in zip(SIGN, values, strict=True)]


def _between(new: Sequence[float], old: Sequence[float], part: float) -> list[float]:
    return [(1.0 - part) * after + part * before for after, before in zip(new, old, strict=True)]

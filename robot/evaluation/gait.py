# SPDX-License-Identifier: MIT
"""Gait analysis: strides, duty factors and phases from foot contacts; pure functions.

Terms follow Hildebrand 1965 and Alexander 1984. A stride of a leg begins at its touch-down and ends
at the next one. The duty factor is the fraction of a stride in which the foot is on the ground. The
relative phase of a leg is the delay of its touch-down after the reference leg's, as a fraction of
the reference leg's stride: 0 and 1 mean together, 0.5 alternating. Legs are in the order of
`hardware.body`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import LEG_SIGN, Body, motor_to_leg, toe_jacobian, toe_position
from walkhome.hardware.constants import N_LEGS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CONTACT_N = 1.0  # measured force above which a foot counts as on the ground
# Thresholds (with hysteresis) of forces that are estimated from torques, which also hold and swing
# the leg: half of a standing leg's share of a Minitaur's weight, and zero (accuracy:
# docs/driving.md).
TOUCHES_N, LEAVES_N = 7.0, 0.0
CHATTER_S = 0.03  # shorter gaps (bounces) and shorter contacts (stumbles) are removed

_STRAIGHT_M2 = 1e-3  # Jacobian determinant below which a leg counts as straight; 0.02 in the stance

REFERENCE_LEG = 0  # front left

# Relative phases of front-left, back-left, front-right and back-right (Hildebrand 1965).
PATTERNS: dict[str, tuple[float, float, float, float]] = {
    "trot": (0.0, 0.5, 0.5, 0.0),
    "pace": (0.0, 0.0, 0.5, 0.5),
    "bound": (0.0, 0.5, 0.0, 0.5),
    "pronk": (0.0, 0.0, 0.0, 0.0),
    "lateral sequence": (0.0, 0.75, 0.5, 0.25),
}
WALKS = 0.5  # a gait with at least this duty factor is a walk, else a run (Hildebrand 1965)
NEAREST = 0.125  # largest mean difference of phase from a pattern (strides) that gets its name
STEADY = 0.7  # smallest mean resultant length of the phases of a gait that gets a name


@dataclass(frozen=True)
class Gait:
    """Strides, duty factors and phases of the four legs.

    Attributes:
        stride_hz: (4,) strides per second of each leg; NaN with fewer than two touch-downs.
        duty_factor: (4,) duty factors over whole strides; over the whole record for a leg without
            a whole stride.
        phase: (4,) relative phases in [0, 1), circular means; NaN without strides.
        steadiness: (4,) mean resultant lengths of the phases: 1 constant, 0 random.
        strides: (4,) numbers of whole strides in the record.
    """

    stride_hz: FloatArray
    duty_factor: FloatArray
    phase: FloatArray
    steadiness: FloatArray
    strides: npt.NDArray[np.int64]

    @property
    def stride_rate_hz(self) -> float:
        """Median stride rate of the legs that have one; NaN if none has."""
        known = self.stride_hz[np.isfinite(self.stride_hz)]
        return float(np.median(known)) if len(known) else math.nan

    @property
    def step_rate_hz(self) -> float:
        """Footfalls of all legs together, per second."""
        return float(np.nansum(self.stride_hz))

    @property
    def name(self) -> str:
        """Name of the nearest pattern, or `irregular`; see `pattern_name`."""
        return pattern_name(self.phase, self.steadiness, float(self.duty_factor.mean()))


def on_ground(force_n: FloatArray) -> BoolArray:
    """Return which feet are on the ground, (n, 4), from measured ground forces (n, 4) in N."""
    return np.asarray(force_n > CONTACT_N, dtype=np.bool_)


def on_ground_by_torque(force_n: FloatArray) -> BoolArray:
    """Return which feet are on the ground, (n, 4), from estimated ground forces (n, 4) in N.

    A contact starts above `TOUCHES_N` and ends at or below `LEAVES_N`.
    """
    out = np.zeros(force_n.shape, dtype=np.bool_)
    stands = np.ones(force_n.shape[1:], dtype=np.bool_)
    for row, force in enumerate(force_n):
        stands = np.where(stands, force > LEAVES_N, force > TOUCHES_N)
        out[row] = stands
    return out


def foot_force_of_torque_n(
    motor_angle_rad: FloatArray, torque_nm: FloatArray, attitude_rad: FloatArray
) -> FloatArray:
    """Estimate the vertical ground force at each foot by virtual work: J^T f = -torque.

    The leg is modelled without mass, so a fast swing appears as a small force. A straight leg
    carries load without torque; its estimate is 0.

    Args:
        motor_angle_rad: (n, 8) motor angles.
        torque_nm: (n, 8) motor torques at the shafts.
        attitude_rad: (n, 2) roll and pitch.

    Returns:
        (n, 4) forces in N along the world's vertical, positive up.
    """
    swing, extension = motor_to_leg(motor_angle_rad)
    first, second = torque_nm[..., 0::2], torque_nm[..., 1::2]
    along_swing, along_extension = LEG_SIGN * (second - first), first + second
    x_s, z_s, x_e, z_e = toe_jacobian(swing, extension)
    area = x_s * z_e - z_s * x_e
    bent = np.abs(area) > _STRAIGHT_M2
    scale = np.where(bent, -1.0, 0.0) / np.where(bent, area, 1.0)
    force_x = scale * (z_e * along_swing - z_s * along_extension)
    force_z = scale * (x_s * along_extension - x_e * along_swing)
    roll, pitch = attitude_rad[..., :1], attitude_rad[..., 1:]
    # Project on the world's vertical in body axes; a leg has no motor for the lateral direction.
    return np.asarray(-np.sin(pitch) * force_x + np.cos(pitch) * np.cos(roll) * force_z)


def without_chatter(
    contact: BoolArray, period_s: float, shortest_s: float = CHATTER_S
) -> BoolArray:
    """Remove from one foot's contacts first short gaps, then short contacts.

    Stretches at the ends of the record are kept, since their true length is unknown.

    Args:
        contact: (n,) True while the foot is on the ground.
        period_s: sampling period.
        shortest_s: shorter stretches are removed.

    Returns:
        (n,) contacts, a copy.
    """
    shortest = round(shortest_s / period_s)
    out: BoolArray = contact.copy()
    for value in (False, True):
        starts, ends = _runs(out == value)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start < shortest and start > 0 and end < len(out):
                out[start:end] = not value
    return out


def touch_downs(contact: BoolArray) -> npt.NDArray[np.int64]:
    """Return the indices at which one foot's contacts (n,) begin; never the first sample."""
    return np.flatnonzero(contact[1:] & ~contact[:-1]) + 1


def analyse(contact: BoolArray, period_s: float) -> Gait:
    """Analyse the gait in a record of foot contacts.

    Args:
        contact: (n, 4) True while a foot is on the ground; chatter is removed first.
        period_s: sampling period.
    """
    feet = [without_chatter(contact[:, leg], period_s) for leg in range(N_LEGS)]
    downs = [touch_downs(foot) for foot in feet]
    stride_hz, duty = np.full(N_LEGS, np.nan), np.zeros(N_LEGS)
    for leg, (foot, down) in enumerate(zip(feet, downs, strict=True)):
        if len(down) > 1:
            stride_hz[leg] = (len(down) - 1) / ((down[-1] - down[0]) * period_s)
            duty[leg] = foot[down[0] : down[-1]].mean()
        else:
            duty[leg] = foot.mean() if len(foot) else math.nan
    phase, steadiness = np.full(N_LEGS, np.nan), np.zeros(N_LEGS)
    for leg in range(N_LEGS):
        parts = relative_phases(downs[REFERENCE_LEG], downs[leg])
        if len(parts):
            phase[leg], steadiness[leg] = circular_mean(parts)
    strides = np.array([max(0, len(down) - 1) for down in downs], dtype=np.int64)
    return Gait(stride_hz, duty, phase, steadiness, strides)


def relative_phases(reference: npt.NDArray[np.int64], downs: npt.NDArray[np.int64]) -> FloatArray:
    """Return the phases of a leg's touch-downs in the reference leg's strides.

    Args:
        reference: indices of the reference leg's touch-downs.
        downs: indices of the other leg's touch-downs.

    Returns:
        (m,) phases in [0, 1) of the m touch-downs within whole strides of the reference leg.
    """
    if len(reference) < 2:
        return np.zeros(0)
    inside = downs[(downs >= reference[0]) & (downs < reference[-1])]
    stride = np.searchsorted(reference, inside, side="right") - 1
    length = reference[stride + 1] - reference[stride]
    return np.asarray((inside - reference[stride]) / length, dtype=np.float64)


def circular_mean(parts: FloatArray) -> tuple[float, float]:
    """Return the circular mean, in [0, 1), and mean resultant length of phases (Mardia 1972).

    Args:
        parts: (m,) phases in [0, 1), m > 0.
    """
    vector = np.exp(2j * math.pi * parts).mean()
    mean = float(np.angle(vector) / (2.0 * math.pi)) % 1.0
    # A tiny negative number modulo 1 rounds to 1.
    return mean if mean < 1.0 else 0.0, float(abs(vector))


def phase_difference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the elementwise circular distance between phases, in [0, 0.5] strides."""
    apart = np.abs(a - b) % 1.0
    return np.minimum(apart, 1.0 - apart)


def pattern_name(phase: FloatArray, steadiness: FloatArray, duty_factor: float) -> str:
    """Return the name of the nearest gait: `walking trot`, `lateral-sequence walk`, `bound`...

    The duty factor tells whether a trot, pace or lateral sequence is a walk or a run; bound and
    pronk are leaping gaits with one name each. A gait without steady phases, or too far from all of
    `PATTERNS`, is `irregular`.

    Args:
        phase: (4,) relative phases.
        steadiness: (4,) mean resultant lengths of the phases.
        duty_factor: mean duty factor of the legs.
    """
    if not np.isfinite(phase).all() or steadiness.min() < STEADY:
        return "irregular"
    # The reference leg has phase 0 by definition, so only the other three are compared.
    apart = {
        name: float(phase_difference(phase[1:], np.array(known[1:])).mean())
        for name, known in PATTERNS.items()
    }
    name = min(apart, key=lambda known: apart[known])
    if apart[name] > NEAREST:
        return "irregular"
    if name == "lateral sequence":
        return f"lateral-sequence {'walk' if duty_factor >= WALKS else 'run'}"
    if name in ("trot", "pace"):
        return f"{'walking' if duty_factor >= WALKS else 'running'} {name}"
    return name


def toe_paths(motor_angle_rad: FloatArray, body: Body) -> FloatArray:
    """Compute the toes' positions in the body frame by forward kinematics.

    Args:
        motor_angle_rad: (n, 8) motor angles.
        body: gives the positions of the hips.

    Returns:
        (n, 4, 2) x (toward the head) and z (up) in m, from the centre of the body.
    """
    x, z = toe_position(*motor_to_leg(motor_angle_rad))
    hips_m = body.hip_x_m * np.array([1.0, -1.0, 1.0, -1.0])
    return np.stack([x + hips_m, z], axis=-1)


def stride_mean(
    values: FloatArray, downs: npt.NDArray[np.int64], points: int = 100
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of a signal over the strides of the reference leg.

    Args:
        values: (n,) signal, in any unit.
        downs: indices of the reference leg's touch-downs.
        points: number of equidistant points per stride.

    Returns:
        Mean and standard deviation, (points,) each; NaN without a whole stride.
    """
    if len(downs) < 2:
        return np.full(points, np.nan), np.full(points, np.nan)
    share = np.arange(points) / points
    rows = [
        np.interp(start + share * (end - start), np.arange(len(values)), values)
        for start, end in zip(downs[:-1].tolist(), downs[1:].tolist(), strict=True)
    ]
    table = np.array(rows)
    return table.mean(axis=0), table.std(axis=0)


def _runs(value: BoolArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Starts and ends (exclusive) of the stretches in which (n,) is true."""
    edges = np.diff(np.concatenate([[0], value.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)

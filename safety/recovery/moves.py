# SPDX-License-Identifier: MIT
"""The moves of the stand-up: leg targets, rates and durations. Pure data and geometry.

A leg of the Minitaur is a five-bar linkage: two cranks on one axle, two shanks that meet in the
foot. When the cranks are aligned (extension 0 or pi), the shanks turn freely about the knees, and a
leg that passed through that point in a fall may close the wrong way round: the foot is on the other
side of the hip, which the motor angles don't show. So legs that have left their range are probed:
a weak spring swings them from leaning to pointing at the sky. A correct leg gets there; a wrong one
has its foot below the hip and props itself against the ground. Wrong legs are whipped: opened to pi
while the leg swings one way, so that the shanks keep turning that way when the cranks release them,
then swung the other way.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body, leg_to_motor, motor_to_leg
from walkhome.hardware.constants import N_LEGS
from walkhome.safety.recovery.roll_over import RollOver

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Leg angles measured from the vertical axis up, toward the robot's back when it lies on its back
# (mirrored on its belly, which keeps the swing within +- pi): start, end and stiffness of a probe.
LEANING_RAD = 1.0
LEANING_EXTENSION_RAD = 2.0
SKYWARD_RAD = 0.2
SKYWARD_EXTENSION_RAD = 1.6
PROBE_KP = 0.3
PROBE_RATE_RAD_S = 15.0
PROBE_S = 0.5
PROBE_REACHED_RAD = 0.2
# In the twin correct legs end 0.0 to 0.15 rad short of their goal. Wrong ones end 0.25 to 0.8 rad
# short and are pushed open by the ground; a correct leg that ends 0.3 rad short, because the trunk
# tilts, is pushed shut.
WRONG_SWING_RAD = 0.2
PUSHED_SHUT_RAD = -0.1
PUSHED_OPEN_RAD = 0.15
JAMMED_RAD = 0.6
# Front legs to the front, hind legs to the back.
SPLAYED_RAD: FloatArray = 0.5 * math.pi * np.array([1.0, -1.0, 1.0, -1.0])
SPLAYED_EXTENSION_RAD = 0.6
NUDGE_RAD = 0.4


class StandUpPhase(enum.Enum):
    """Phase of the stand-up script; see `safety.recovery.stand_up`."""

    READY = "ready"
    GATHER = "gather"
    FOLD = "fold"
    PROBE = "probe"
    WHIP = "whip"
    NUDGE = "nudge"
    ROLL = "roll"
    RISE = "rise"
    CHECK = "check"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Whip:
    """A motion that turns a leg's shanks the other way round.

    Angles are measured from the vertical axis up, toward the side on which the leg props itself.

    Attributes:
        from_rad: angle at which the leg opens.
        open_s: time for that.
        over_rad: angle to which the open leg swings.
        over_s: time for that.
        side: -1 mirrors the motion.
    """

    from_rad: float
    open_s: float
    over_rad: float
    over_s: float
    side: float = 1.0


# A whip that fails on a leg fails again, so the next attempt uses another one. Wrong legs that each
# whip turned at the first attempt in the twin, of 64 on flat ground and of 21 on the mattress: 44
# and 10, 32 and 15, 27 and 15. Of five legs that the first whip failed on, the others turned five
# and four.
WHIPS = (
    Whip(1.9, 0.22, -1.0, 0.08),
    Whip(1.2, 0.30, -1.4, 0.10),
    Whip(1.9, 0.22, -1.0, 0.08, side=-1.0),
)


@dataclass(frozen=True, slots=True)
class StandUpSettings:
    """Gains, rates and thresholds of the script.

    Attributes:
        kp: proportional gain while the robot is down, PWM per rad.
        kd: derivative gain while the robot is down, PWM per rad/s.
        gather_rate_rad_s: speed of the motor targets while the legs are gathered.
        rise_rate_rad_s: speed of the motor targets while rising.
        upright_cos: cosine of the tilt up to which the robot counts as upright.
        near_rad: largest distance of a motor from the stance at which the robot eases straight to
            it, its feet sliding.
        near_cos: cosine of the largest tilt for that.
        flat_cos: cosine of the tilt up to which the robot lies flat, on any ground.
        fallen_cos: cosine of the tilt beyond which a rising robot has fallen over.
        back_cos: minus the cosine of the tilt beyond which it lies on its back.
        side_cos: cosine of the tilt beyond which it may lie on its side; up to it, it still falls.
        level_rad: largest roll and pitch of a robot that stands.
        calm_rad_s: largest angular rate of a robot that stands.
        holds_rad: largest error of a motor in the stance.
        balanced_rad: largest distance of a target from the stance once balancing has ended.
        carries_rad: smallest sum of the four legs' sag (extension) of a robot whose legs carry it.
        steady_s: how long all conditions of standing have to hold.
        hot_s: how long a motor may be overloaded before its target gives way.
        balance: extension per tilt, rad per rad, by which low legs push and high legs give.
        balance_rate_s: extension per angular rate, rad per rad/s.
        balance_limit_rad: largest extension for balance.
    """

    kp: float = 1.2
    kd: float = 0.02
    gather_rate_rad_s: float = 20.0
    rise_rate_rad_s: float = 8.0
    upright_cos: float = 0.7
    near_rad: float = 0.8
    near_cos: float = 0.985
    flat_cos: float = 0.9
    fallen_cos: float = 0.5
    back_cos: float = 0.6
    side_cos: float = 0.35
    level_rad: float = 0.25
    calm_rad_s: float = 1.0
    holds_rad: float = 0.6
    balanced_rad: float = 0.15
    carries_rad: float = 0.2
    steady_s: float = 0.1
    hot_s: float = 0.6
    balance: float = 1.0
    balance_rate_s: float = 0.1
    balance_limit_rad: float = 0.6


@dataclass(frozen=True, slots=True)
class Move:
    """Motor targets that are approached at a rate, until reached or until the time is over.

    Attributes:
        phase: phase of the script that the move belongs to.
        goal_rad: (8,) motor angles.
        duration_s: time after which the move ends.
        rate_rad_s: speed of each motor's target.
        kp: PWM per rad.
        kd: PWM per rad/s.
        until_reached: end the move as soon as the motors are there and the trunk is calm.
        balanced: low legs push and high legs give, to keep the trunk level.
        reached_rad: largest distance of a motor from its goal that counts as there.
    """

    phase: StandUpPhase
    goal_rad: FloatArray
    duration_s: float
    rate_rad_s: float
    kp: float
    kd: float
    until_reached: bool = False
    balanced: bool = False
    reached_rad: float = 0.3


class Moves:
    """Builds the moves for a body.

    Args:
        body: stance, range and gains of the walk.
        settings: gains and rates of the script.
    """

    def __init__(self, body: Body, settings: StandUpSettings) -> None:
        self._body = body
        self._settings = settings

    def ready(self, target_rad: FloatArray) -> list[Move]:
        """Ease from the targets `target_rad` (8,) straight to the stance, then check."""
        stance, rate = self._body.stance_motor_rad(), self._settings.rise_rate_rad_s
        duration_s = float(np.abs(stance - target_rad).max()) / rate
        kp, kd = self._body.kp, self._settings.kd
        ease = Move(StandUpPhase.READY, stance, duration_s, rate, kp, kd, balanced=True)
        return [ease, self._check()]

    def fold(self) -> list[Move]:
        """Fold the legs of a robot on its belly under the body."""
        body, rate = self._body, 2 * self._settings.rise_rate_rad_s
        short = body.extension_min_rad + 0.2
        swing = body.stance_swing_rad
        return [self._move(StandUpPhase.FOLD, swing, short, 0.6, rate, until_reached=True)]

    def rise(self) -> list[Move]:
        """Extend folded legs to the stance, then check."""
        body, rate = self._body, self._settings.rise_rate_rad_s
        swing, extension = body.stance_swing_rad, body.stance_extension_rad
        return [
            self._move(StandUpPhase.RISE, swing, extension, 0.4, rate, balanced=True),
            self._check(),
        ]

    def gather(self) -> list[Move]:
        """Bring all legs to their home posture, from any motor angles."""
        rate = self._settings.gather_rate_rad_s
        return [self._move(StandUpPhase.GATHER, 0.0, 1.0, 1.0, rate, until_reached=True)]

    def splay(self) -> list[Move]:
        """Fold all legs into the plane of the trunk, where neither way round props it up."""
        rate = self._settings.gather_rate_rad_s
        return [
            self._move(StandUpPhase.GATHER, SPLAYED_RAD, SPLAYED_EXTENSION_RAD, 1.0, rate, True)
        ]

    def probe(self, on_belly: bool) -> list[Move]:
        """Swing the legs up by a weak spring, to find those that are the wrong way round.

        Args:
            on_belly: whether the robot lies on its belly; else on its back.
        """
        s = self._settings
        rate, leaning = s.gather_rate_rad_s, self._swing(LEANING_RAD, on_belly)
        bring = self._move(
            StandUpPhase.GATHER, leaning, LEANING_EXTENSION_RAD, 1.0, rate, until_reached=True
        )
        skyward = self._swing(SKYWARD_RAD, on_belly)
        goal = leg_to_motor(np.full(N_LEGS, skyward), np.full(N_LEGS, SKYWARD_EXTENSION_RAD))
        feel = Move(
            StandUpPhase.PROBE,
            goal,
            PROBE_S,
            PROBE_RATE_RAD_S,
            PROBE_KP,
            s.kd,
            until_reached=True,
            reached_rad=PROBE_REACHED_RAD,
        )
        return [bring, feel]

    def whip(
        self,
        swing_error_rad: FloatArray,
        extension_error_rad: FloatArray,
        on_belly: bool,
        way: Whip,
        rng: np.random.Generator | None = None,
    ) -> list[Move]:
        """Turn the shanks of the legs that a probe found wrong; the other legs stay.

        Args:
            swing_error_rad: (4,) swing error at the end of the probe; its sign is the side on which
                a leg props itself.
            extension_error_rad: (4,) extension error at the end of the probe, of jammed legs.
            on_belly: whether the robot lies on its belly; else on its back.
            way: one of the `WHIPS`.
            rng: varies the motion, for legs on which every whip has failed.
        """
        wrong = wrong_way_round(swing_error_rad, extension_error_rad)
        jammed = np.abs(extension_error_rad) > JAMMED_RAD
        # Opening a jammed leg takes its motors' whole torque: it swings with its cranks as they
        # are, which frees the shanks, and opens at the end.
        extension = SKYWARD_EXTENSION_RAD + extension_error_rad
        aligned = np.where(jammed, np.pi * np.round(extension / np.pi), np.pi)
        side = way.side * np.where((swing_error_rad < 0.0) ^ on_belly, -1.0, 1.0)
        skyward = self._swing(SKYWARD_RAD, on_belly)
        change = np.zeros(2) if rng is None else rng.uniform(-1.0, 1.0, size=2)
        # Angles, extensions, times and rates of three steps: open, swing over, close on the way.
        steps: tuple[tuple[float, FloatArray | float, float, float], ...] = (
            (way.from_rad + 0.15 * change[0], aligned, way.open_s, 25.0),
            (way.over_rad + 0.3 * change[1], aligned, way.over_s, 45.0),
            (-1.57, LEANING_EXTENSION_RAD, 0.2, 75.0),
        )
        s = self._settings
        moves = []
        for angle, extends, duration_s, rate in steps:
            swing = np.where(wrong, self._swing(side * angle, on_belly), skyward)
            goal = leg_to_motor(swing, np.where(wrong, extends, SKYWARD_EXTENSION_RAD))
            moves.append(Move(StandUpPhase.WHIP, goal, duration_s, rate, s.kp, s.kd))
        return moves

    def nudge(self, whipped_rad: FloatArray, extension_error_rad: FloatArray) -> list[Move]:
        """Turn legs further whose shanks lie across their cranks after a whip.

        Args:
            whipped_rad: (8,) motor angles at the end of the whip.
            extension_error_rad: (4,) extension error there; 0 for a closed leg.
        """
        swing, extension = motor_to_leg(whipped_rad)
        across = np.abs(extension_error_rad) > JAMMED_RAD
        aligned = np.pi * np.round((extension + extension_error_rad) / np.pi)
        skyward = np.where(np.cos(swing) < 0.0, np.pi, 0.0)
        further = swing + NUDGE_RAD * np.sign(swing - skyward)
        goal = leg_to_motor(np.where(across, further, swing), np.where(across, aligned, extension))
        s = self._settings
        return [
            Move(StandUpPhase.NUDGE, goal, 0.12, 40.0, s.kp, s.kd),
            Move(StandUpPhase.NUDGE, whipped_rad, 0.16, 75.0, s.kp, s.kd),
        ]

    def roll(self, script: RollOver, near_is_left: bool, from_home: bool) -> list[Move]:
        """Build the moves of a roll-over.

        Args:
            script: a roll-over from the back or from the side.
            near_is_left: whether `RollOverStep.near` is the left side.
            from_home: gather the legs first; the scripts from the back were found from there.
        """
        s = self._settings
        rate = s.gather_rate_rad_s
        moves = [self._move(StandUpPhase.ROLL, 0.0, 1.0, 0.4, rate, True)] if from_home else []
        for phase in script.phases:
            goal, rate = leg_to_motor(*phase.legs(near_is_left)), script.rate_rad_s
            moves.append(Move(StandUpPhase.ROLL, goal, phase.duration_s, rate, s.kp, s.kd))
        return moves

    def _check(self) -> Move:
        # The stiffness of walking, so that the hand-over does not jolt, with more damping.
        stance, s = self._body.stance_motor_rad(), self._settings
        rate = s.rise_rate_rad_s
        return Move(StandUpPhase.CHECK, stance, 0.6, rate, self._body.kp, s.kd, balanced=True)

    def _move(
        self,
        phase: StandUpPhase,
        swing_rad: float | FloatArray,
        extension_rad: float,
        duration_s: float,
        rate_rad_s: float,
        until_reached: bool = False,
        balanced: bool = False,
    ) -> Move:
        goal = leg_to_motor(np.full(N_LEGS, swing_rad), np.full(N_LEGS, extension_rad))
        s = self._settings
        return Move(phase, goal, duration_s, rate_rad_s, s.kp, s.kd, until_reached, balanced)

    @staticmethod
    def _swing(from_sky_rad: float | FloatArray, on_belly: bool) -> FloatArray:
        """Swing of a leg at an angle from the vertical axis up; mirrored on the belly."""
        from_sky = np.asarray(from_sky_rad, dtype=np.float64)
        return math.pi - from_sky if on_belly else from_sky


def wrong_way_round(swing_error_rad: FloatArray, extension_error_rad: FloatArray) -> BoolArray:
    """Find the legs that are the wrong way round, or jammed, after a probe.

    Args:
        swing_error_rad: (4,) measured minus commanded swing.
        extension_error_rad: (4,) measured minus commanded extension.

    Returns:
        (4,) True where the leg has to be whipped.
    """
    swing = np.abs(swing_error_rad)
    short = (swing > WRONG_SWING_RAD) & (extension_error_rad > PUSHED_SHUT_RAD)
    propped = (swing > 0.5 * WRONG_SWING_RAD) & (extension_error_rad > PUSHED_OPEN_RAD)
    # A jammed leg has its shanks across its cranks and no side yet; the whip shakes it loose.
    return np.asarray(short | propped | (np.abs(extension_error_rad) > JAMMED_RAD))

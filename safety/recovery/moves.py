# SPDX-License-Identifier: MIT
"""The moves of the stand-up: where the legs go, how fast, for how long. Pure data and geometry.

A leg of the Minitaur is a kite: two cranks on one axle, two shanks that meet in the foot. Where its
cranks lie on each other (extension 0 or pi) the shanks turn freely about the knees, and a leg that
whirled through that in a fall may close the wrong way round: the foot on the hip's other side, and
nothing of it in the motor angles. So legs that got out of their range are probed: swung by a weak
spring from leaning to upright. A right one gets there; a wrong one has its foot below the
hip and props against the ground. Those are whipped: opened to pi while the leg swings one way, so
that the shanks go on turning that way when the cranks let go of them, then swung the other way.
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

# Angles of a leg from the sky, toward the robot's back when it lies on its back (mirrored on its
# belly, which keeps the swing within +- pi): where a probe begins and ends, and how it is held.
LEANING_RAD = 1.0
LEANING_EXTENSION_RAD = 2.0
SKYWARD_RAD = 0.2
SKYWARD_EXTENSION_RAD = 1.6
PROBE_KP = 0.3
PROBE_RATE_RAD_S = 15.0
PROBE_S = 0.5
PROBE_REACHED_RAD = 0.2
# In the twin right legs end 0.0 to 0.15 short of their goal. Wrong ones end 0.25 to 0.8 short, and
# the ground pushes them open; a right leg that is 0.3 short, since the trunk tilts, is pushed shut.
WRONG_SWING_RAD = 0.2
PUSHED_SHUT_RAD = -0.1
PUSHED_OPEN_RAD = 0.15
JAMMED_RAD = 0.6
# Front legs to the front, hind legs to the back.
SPLAYED_RAD: FloatArray = 0.5 * math.pi * np.array([1.0, -1.0, 1.0, -1.0])
SPLAYED_EXTENSION_RAD = 0.6
NUDGE_RAD = 0.4


class StandUpPhase(enum.Enum):
    """What the script is doing; see `safety.recovery.stand_up`."""

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
    """A way to turn a leg's shanks about; angles from the sky, toward the side it props itself on.

    Attributes:
        from_rad: where the leg is opened to.
        open_s: for how long.
        over_rad: where it swings to while it is open.
        over_s: for how long.
        side: -1 swings from the other side.
    """

    from_rad: float
    open_s: float
    over_rad: float
    over_s: float
    side: float = 1.0


# A leg that one of them leaves as it was, it leaves again: the next one differs. Wrong legs that
# each turned at once, in the twin, of 64 on flat ground and of 21 on the mattress: 44 and 10, 32
# and 15, 27 and 15. Of five that had withstood the first one, the others turned five and four.
WHIPS = (
    Whip(1.9, 0.22, -1.0, 0.08),
    Whip(1.2, 0.30, -1.4, 0.10),
    Whip(1.9, 0.22, -1.0, 0.08, side=-1.0),
)


@dataclass(frozen=True, slots=True)
class StandUpSettings:
    """Numbers of the script.

    Attributes:
        kp: proportional gain while the robot is down, PWM per rad.
        kd: derivative gain while the robot is down, PWM per rad/s.
        gather_rate_rad_s: speed of the motor targets on the way home.
        rise_rate_rad_s: speed of the motor targets while rising.
        upright_cos: cosine of the tilt up to which the robot counts as upright.
        near_rad: largest way of a motor to the stance on which the feet may slide.
        near_cos: cosine of the largest tilt at which they may.
        flat_cos: cosine of the tilt up to which the robot lies flat on the ground, whatever ground.
        fallen_cos: the same beyond which a robot that rises has fallen over.
        back_cos: minus the cosine of the tilt beyond which it lies on its back.
        side_cos: cosine of the tilt beyond which it may lie on its side; below, it falls on.
        level_rad: largest roll and pitch of a robot that stands.
        calm_rad_s: largest angular rate of a robot that stands.
        holds_rad: largest error of a motor in the stance.
        balanced_rad: largest way of a target from the stance; more, and it is still balancing.
        carries_rad: smallest sum of the legs' sag (4 legs, extension) that shows they carry weight.
        steady_s: how long all this has to hold.
        hot_s: how long a motor may strain before its target gives way.
        balance: extension per tilt, rad per rad, by which low legs push and high legs give.
        balance_rate_s: the same per angular rate, s.
        balance_limit_rad: largest such extension.
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
    """Targets to go to, at a rate, until reached or out of time.

    Attributes:
        phase: what it is part of.
        goal_rad: (8,) motor angles.
        duration_s: after which it ends.
        rate_rad_s: speed of each motor's target.
        kp: PWM per rad.
        kd: PWM per rad/s.
        until_reached: ends as soon as the motors are there and the trunk is calm.
        balanced: low legs push and high legs give, to keep the trunk level.
        reached_rad: how near every motor has to be for that.
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
        """Straight to the stance from `target_rad` (8,), and the check."""
        stance, rate = self._body.stance_motor_rad(), self._settings.rise_rate_rad_s
        duration_s = float(np.abs(stance - target_rad).max()) / rate
        kp, kd = self._body.kp, self._settings.kd
        ease = Move(StandUpPhase.READY, stance, duration_s, rate, kp, kd, balanced=True)
        return [ease, self._check()]

    def fold(self) -> list[Move]:
        """From the belly: the legs under the body, short."""
        body, rate = self._body, 2 * self._settings.rise_rate_rad_s
        short = body.extension_min_rad + 0.2
        swing = body.stance_swing_rad
        return [self._move(StandUpPhase.FOLD, swing, short, 0.6, rate, until_reached=True)]

    def rise(self) -> list[Move]:
        """From the folded legs: extend, check."""
        body, rate = self._body, self._settings.rise_rate_rad_s
        swing, extension = body.stance_swing_rad, body.stance_extension_rad
        return [
            self._move(StandUpPhase.RISE, swing, extension, 0.4, rate, balanced=True),
            self._check(),
        ]

    def gather(self) -> list[Move]:
        """All legs home, wherever their motors wound to."""
        rate = self._settings.gather_rate_rad_s
        return [self._move(StandUpPhase.GATHER, 0.0, 1.0, 1.0, rate, until_reached=True)]

    def splay(self) -> list[Move]:
        """All legs short, in the plane of the trunk: whichever way round, none props it up."""
        rate = self._settings.gather_rate_rad_s
        return [
            self._move(StandUpPhase.GATHER, SPLAYED_RAD, SPLAYED_EXTENSION_RAD, 1.0, rate, True)
        ]

    def probe(self, on_belly: bool) -> list[Move]:
        """Swing the legs to the sky by a weak spring.

        Args:
            on_belly: where the sky is.
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
        """Turns the shanks of the legs about that a probe found wrong; the others stay.

        Args:
            swing_error_rad: (4,) of the probe; tells on which side of the sky a leg props itself.
            extension_error_rad: (4,) of the probe; tells where a jammed leg is.
            on_belly: where the sky is.
            way: which of the `WHIPS`.
            rng: varies it, for legs that none of them helped.
        """
        wrong = wrong_way_round(swing_error_rad, extension_error_rad)
        jammed = np.abs(extension_error_rad) > JAMMED_RAD
        # Opening a jammed leg takes all of its motors' strength: it swings with its cranks as they
        # lie, which frees the shanks, and opens at the end.
        extension = SKYWARD_EXTENSION_RAD + extension_error_rad
        aligned = np.where(jammed, np.pi * np.round(extension / np.pi), np.pi)
        side = way.side * np.where((swing_error_rad < 0.0) ^ on_belly, -1.0, 1.0)
        skyward = self._swing(SKYWARD_RAD, on_belly)
        change = np.zeros(2) if rng is None else rng.uniform(-1.0, 1.0, size=2)
        # Angles from the sky, extensions, times, rates: open, swing over, close on the way.
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
        """Turns legs further that a whip left with their shanks across their cranks.

        Args:
            whipped_rad: (8,) where the whip ended, motor angles.
            extension_error_rad: (4,) how far the legs are from being closed there.
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
        """The phases of a roll-over.

        Args:
            script: from the back or the side.
            near_is_left: which side `RollOverStep.near` means.
            from_home: begin with the legs home, where the scripts from the back were found.
        """
        s = self._settings
        rate = s.gather_rate_rad_s
        moves = [self._move(StandUpPhase.ROLL, 0.0, 1.0, 0.4, rate, True)] if from_home else []
        for phase in script.phases:
            goal, rate = leg_to_motor(*phase.legs(near_is_left)), script.rate_rad_s
            moves.append(Move(StandUpPhase.ROLL, goal, phase.duration_s, rate, s.kp, s.kd))
        return moves

    def _check(self) -> Move:
        # With the stiffness of the walk, so that the hand-over does not jolt; but better damped.
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
        """Swing of a leg that leans by an angle from the sky, toward the back of a robot on its."""
        from_sky = np.asarray(from_sky_rad, dtype=np.float64)
        return math.pi - from_sky if on_belly else from_sky


def wrong_way_round(swing_error_rad: FloatArray, extension_error_rad: FloatArray) -> BoolArray:
    """Which legs are the wrong way round, or jammed, after a probe.

    Args:
        swing_error_rad: (4,) measured minus commanded swing, either way.
        extension_error_rad: (4,) the same of the extension.

    Returns:
        (4,) True where the leg has to be whipped.
    """
    swing = np.abs(swing_error_rad)
    short = (swing > WRONG_SWING_RAD) & (extension_error_rad > PUSHED_SHUT_RAD)
    propped = (swing > 0.5 * WRONG_SWING_RAD) & (extension_error_rad > PUSHED_OPEN_RAD)
    # A jammed leg, its shanks across its cranks, has no side yet: the whip shakes it loose.
    return np.asarray(short | propped | (np.abs(extension_error_rad) > JAMMED_RAD))

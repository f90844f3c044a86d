# SPDX-License-Identifier: MIT
"""Faults that can be injected into an emulated board: kind, start and duration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = {
    "mute": "it sends nothing",
    "freeze": "its processor hangs; its watchdog switches the motors off",
    "garble": "some of its bytes are wrong",
    "delay": "its bytes arrive 50 ms late",
    "unplug": "the cable is unplugged, and plugged in again afterwards",
    "brown-out": "the battery is empty",
    "dead-motor": "motor 3 is not driven",
    "bad-imu": "the IMU fails",
    "reboot": "its processor restarts",
    "blind": "its pose source sends nothing",
    "carried": "its pose source reports a position 2 m away",
}


class FaultInvalid(ValueError):  # noqa: N818 - says what is wrong
    """The text does not describe a fault; the message says what is possible."""


@dataclass(frozen=True)
class InjectedFault:
    """A fault of one of `KINDS` that the emulated board shows for some time.

    Attributes:
        kind: kind of the fault.
        start_s: start, in the board's time.
        duration_s: duration; infinite by default.
    """

    kind: str
    start_s: float
    duration_s: float = math.inf

    @classmethod
    def parse(cls, text: str) -> InjectedFault:
        """Parse KIND, KIND@START or KIND@START:DURATION, in seconds.

        Raises:
            FaultInvalid: unknown kind, or not such numbers.
        """
        kind, _, when = text.partition("@")
        if kind not in KINDS:
            raise FaultInvalid(f"unknown fault {kind!r}; use one of {', '.join(KINDS)}")
        start, _, duration = when.partition(":")
        try:
            fault = cls(kind, float(start or 0.0), float(duration) if duration else math.inf)
        except ValueError:
            fault = cls(kind, math.nan)
        if not (fault.start_s >= 0.0 and fault.duration_s > 0.0):
            raise FaultInvalid(f"{text!r}: write KIND@START:DURATION in seconds, as mute@10:0.5")
        return fault

    def active(self, time_s: float) -> bool:
        """Whether the fault is active at `time_s`."""
        return self.start_s <= time_s < self.start_s + self.duration_s


def active_kinds(faults: Sequence[InjectedFault], time_s: float) -> frozenset[str]:
    """Kinds of the faults that are active at `time_s`."""
    return frozenset(fault.kind for fault in faults if fault.active(time_s))

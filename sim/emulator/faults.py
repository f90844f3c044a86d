# SPDX-License-Identifier: MIT
"""What can go wrong with an emulated board, when, and for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = {
    "mute": "it says nothing",
    "freeze": "its processor stands still; its watchdog lets the motors go",
    "garble": "some of its bytes are wrong",
    "delay": "its bytes come 50 ms late",
    "unplug": "the cable is pulled, and put back after",
    "brown-out": "the battery is empty",
    "dead-motor": "motor 3 is not driven",
    "bad-imu": "the IMU is lost",
    "reboot": "its processor starts anew",
    "blind": "its pose source says nothing",
    "carried": "its pose source says that it stands 2 m further",
}


class FaultInvalid(ValueError):  # noqa: N818 - says what is wrong
    """A fault that can't be understood."""


@dataclass(frozen=True)
class Fault:
    """One of `KINDS`, from a moment of the board's time on.

    Attributes:
        kind: what goes wrong.
        start_s: when.
        duration_s: for how long; infinite if nobody says.
    """

    kind: str
    start_s: float
    duration_s: float = math.inf

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From KIND, KIND@START or KIND@START:DURATION, in seconds.

        Raises:
            FaultInvalid: with what is possible.
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
        """Whether it goes wrong now."""
        return self.start_s <= time_s < self.start_s + self.duration_s


def active_kinds(faults: Sequence[Fault], time_s: float) -> frozenset[str]:
    """What goes wrong now."""
    return frozenset(fault.kind for fault in faults if fault.active(time_s))

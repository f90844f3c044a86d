# SPDX-License-Identifier: MIT
"""Where the robot stands on the floor: poses from another program, and a guard over any source.

A pose source is apart from the robot: reward and workspace use it, the policy never sees it. What
comes from outside is not believed: a pose that is old, not finite or further than a robot gets is
`ok=False`, and the robot waits.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from walkhome.hardware.robot import Pose2D, PoseSource, RobotError
from walkhome.hardware.rotation import wrap_to_pi

NOWHERE = Pose2D(0.0, 0.0, 0.0, -math.inf, ok=False)

MAX_AGE_S = 0.2
MAX_AHEAD_S = 0.02  # a pose from the future has another clock
MAX_SPEED_M_S = 3.0
MAX_TURN_RAD_S = 8.0
JITTER_M = 0.05
JITTER_RAD = 0.2
TRUST_AGAIN_S = 0.5  # so long a source has to agree with itself after a jump
MAX_MESSAGE = 1024


class PoseSourceRefused(RobotError):  # noqa: N818 - says what happened
    """A pose source can't be used; the message says why and what to do."""


def to_message(pose: Pose2D) -> bytes:
    """A pose as one datagram: JSON that any program can write."""
    place = {"x_m": pose.x_m, "y_m": pose.y_m, "yaw_rad": pose.yaw_rad, "time_s": pose.time_s}
    return json.dumps({**place, "ok": pose.ok}).encode()


def from_message(data: bytes) -> Pose2D | None:
    """A pose from a datagram; None if it is none. `ok` may be left out."""
    try:
        said = json.loads(data)
        numbers = [said[key] for key in ("x_m", "y_m", "yaw_rad", "time_s")]
        ok = said.get("ok", True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        return None
    x_m, y_m, yaw_rad, time_s = (float(n) if abs(n) < 1e15 else math.nan for n in numbers)
    return Pose2D(x_m, y_m, yaw_rad, time_s, ok=ok is True)


class SocketPose:
    """Poses that another program sends to a Unix datagram socket; only its owner can.

    Args:
        path: of the socket; made here, removed by `close`.

    Attributes:
        path: the same.
        received: datagrams that were poses.
        refused: those that were not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received = self.refused = 0
        self._newest = NOWHERE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            _remove_stale(path)
            before = os.umask(0o177)
            try:
                self._socket.bind(str(path))
            finally:
                os.umask(before)
        except OSError as error:
            self._socket.close()
            why = "in use by another process" if error.errno == errno.EADDRINUSE else str(error)
            raise PoseSourceRefused(
                f"pose socket {path}: {why}; name another with --pose"
            ) from None
        self._socket.setblocking(False)

    def latest(self) -> Pose2D:
        """The newest pose that has arrived; does not wait."""
        while True:
            try:
                data = self._socket.recv(MAX_MESSAGE)
            except OSError:  # nothing there, or closed
                return self._newest
            pose = from_message(data)
            if pose is None:
                self.refused += 1
                continue
            self.received += 1
            if pose.time_s > self._newest.time_s:
                self._newest = pose

    def close(self) -> None:
        """Take the socket away; safe to call twice."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()


def _remove_stale(path: Path) -> None:
    """A socket that nobody listens to any more is in the way."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


class PoseGuard:
    """A pose source that is believed only while it is believable.

    Args:
        source: of the poses.
        clock: monotonic seconds, the source's too.
        max_age_s: older poses are refused.

    Attributes:
        refusals: poses refused, by reason: `unknown`, `old`, `ahead`, `jump`.
    """

    def __init__(
        self,
        source: PoseSource,
        clock: Callable[[], float] = time.monotonic,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self.refusals = {"unknown": 0, "old": 0, "ahead": 0, "jump": 0}
        self._source, self._clock, self._max_age_s = source, clock, max_age_s
        self._seen: Pose2D | None = None  # newest one that was looked at
        self._agrees_since_s: float | None = None  # after a jump; None while there is no doubt

    def latest(self) -> Pose2D:
        """The newest pose; `ok` only if it can be believed."""
        pose = self._source.latest()
        why = self._doubt(pose)
        if why:
            self.refusals[why] += 1
            return replace(pose, ok=False)
        return pose

    def close(self) -> None:
        """Close the source, if it can be."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def _doubt(self, pose: Pose2D) -> str:
        if not (pose.ok and all(map(math.isfinite, (pose.x_m, pose.y_m, pose.yaw_rad)))):
            return "unknown"
        age_s = self._clock() - pose.time_s
        if not age_s <= self._max_age_s:
            return "old"
        if age_s < -MAX_AHEAD_S:
            return "ahead"
        return "jump" if self._jumps(pose) else ""

    def _jumps(self, pose: Pose2D) -> bool:
        seen, self._seen = self._seen, pose
        if seen is not None and pose.time_s > seen.time_s:
            if not _reachable(seen, pose):
                self._agrees_since_s = pose.time_s
            elif (
                self._agrees_since_s is not None
                and pose.time_s - self._agrees_since_s >= TRUST_AGAIN_S
            ):
                self._agrees_since_s = None
        return self._agrees_since_s is not None


def _reachable(before: Pose2D, after: Pose2D) -> bool:
    seconds = after.time_s - before.time_s
    way_m = math.hypot(after.x_m - before.x_m, after.y_m - before.y_m)
    turn_rad = abs(wrap_to_pi(after.yaw_rad - before.yaw_rad))
    return (
        way_m <= MAX_SPEED_M_S * seconds + JITTER_M
        and turn_rad <= MAX_TURN_RAD_S * seconds + JITTER_RAD
    )

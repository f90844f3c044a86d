# SPDX-License-Identifier: MIT
"""Floor poses received from another program, and a plausibility check of any pose source.

A pose source is separate from the robot: reward and workspace use it, the policy never does. Poses
from outside are not trusted: one that is old, not finite, or too far from the last one becomes
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
MAX_AHEAD_S = 0.02  # a pose further in the future comes from another clock
MAX_SPEED_M_S = 3.0
MAX_TURN_RAD_S = 8.0
JITTER_M = 0.05
JITTER_RAD = 0.2
TRUST_AGAIN_S = 0.5  # after a jump, the source must be consistent for this long
MAX_MESSAGE = 1024


class PoseSourceRefused(RobotError):  # noqa: N818 - says what happened
    """The pose source can't be used; the message says why and what to do."""


def to_message(pose: Pose2D) -> bytes:
    """Encode a pose as a datagram: JSON, which any program can write."""
    place = {"x_m": pose.x_m, "y_m": pose.y_m, "yaw_rad": pose.yaw_rad, "time_s": pose.time_s}
    return json.dumps({**place, "ok": pose.ok}).encode()


def from_message(data: bytes) -> Pose2D | None:
    """Decode a datagram; None if it is not a pose. `ok` defaults to True."""
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
    """`PoseSource` of the poses that a program of the same user sends to a Unix datagram socket.

    Args:
        path: path of the socket, which is created here and removed by `close`.

    Attributes:
        path: as given.
        received: number of datagrams with a pose.
        refused: number of other datagrams.

    Raises:
        PoseSourceRefused: the socket can't be created, or another process uses it.
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
            except OSError:  # no datagram, or the socket is closed
                return self._newest
            pose = from_message(data)
            if pose is None:
                self.refused += 1
                continue
            self.received += 1
            if pose.time_s > self._newest.time_s:
                self._newest = pose

    def close(self) -> None:
        """Close and remove the socket; safe to call twice."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket file without a listening process."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


class PoseGuard:
    """`PoseSource` that marks implausible poses of another source as not `ok`.

    Args:
        source: source to check.
        clock: monotonic seconds, the clock that stamps the poses.
        max_age_s: older poses are refused.

    Attributes:
        refusals: number of refused poses by reason: `unknown`, `old`, `ahead`, `jump`.
    """

    def __init__(
        self,
        source: PoseSource,
        clock: Callable[[], float] = time.monotonic,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self.refusals = {"unknown": 0, "old": 0, "ahead": 0, "jump": 0}
        self._source, self._clock, self._max_age_s = source, clock, max_age_s
        self._seen: Pose2D | None = None  # the last pose that was checked
        self._agrees_since_s: float | None = None  # since the last jump; None if trusted

    def latest(self) -> Pose2D:
        """The newest pose; `ok` only if it is plausible."""
        pose = self._source.latest()
        why = self._doubt(pose)
        if why:
            self.refusals[why] += 1
            return replace(pose, ok=False)
        return pose

    def close(self) -> None:
        """Close the source if it has a `close` method."""
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

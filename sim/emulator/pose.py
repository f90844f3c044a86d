# SPDX-License-Identifier: MIT
"""Publishes the pose of the emulated robot to another program, with noise, delay and drop-outs.

Sends datagrams of `hardware.pose.guard` to a Unix socket. Without a reader they are dropped: a
motion capture system does not wait either.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from walkhome.hardware.pose.guard import to_message
from walkhome.hardware.robot import Pose2D
from walkhome.sim.emulator.rate import FixedRateTrigger


@dataclass(frozen=True)
class PoseSettings:
    """Quality of the emulated pose source.

    Attributes:
        rate_hz: poses per second.
        noise_m: standard deviation of x and y.
        noise_rad: standard deviation of the yaw.
        delay_s: from measurement to datagram.
        drop: share of poses that are lost, in [0, 1].
    """

    rate_hz: float = 100.0
    noise_m: float = 0.002
    noise_rad: float = 0.005
    delay_s: float = 0.01
    drop: float = 0.0


class PosePublisher:
    """Sends poses to a socket.

    Args:
        path: path of the reader's socket.
        settings: rate, noise, delay, drop-outs.
        seed: random seed of noise and drop-outs.
    """

    def __init__(self, path: Path, settings: PoseSettings | None = None, seed: int = 0) -> None:
        self.path, self.settings = path, settings or PoseSettings()
        self._rng = np.random.default_rng([seed, 3])
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._every = FixedRateTrigger(self.settings.rate_hz)
        self._late: deque[Pose2D] = deque()

    def due(self, board_s: float) -> bool:
        """Whether a pose is due at this time of the board; True once per period."""
        return self._every.due(board_s)

    def take(self, truth: Pose2D, now_s: float) -> None:
        """Queue a pose with noise, unless it is dropped; `send` sends it after the delay.

        Args:
            truth: exact pose; its time is ignored.
            now_s: monotonic seconds, the time stamp of the datagram.
        """
        s = self.settings
        x, y, yaw = self._rng.standard_normal(3)
        if self._rng.random() < s.drop:
            return
        self._late.append(
            replace(
                truth,
                x_m=truth.x_m + s.noise_m * float(x),
                y_m=truth.y_m + s.noise_m * float(y),
                yaw_rad=truth.yaw_rad + s.noise_rad * float(yaw),
                time_s=now_s,
            )
        )

    def send(self, now_s: float) -> None:
        """Send the queued poses that are due."""
        while self._late and now_s - self._late[0].time_s >= self.settings.delay_s:
            # Drop the pose if there is no reader or it is too slow.
            with contextlib.suppress(OSError):
                self._socket.sendto(to_message(self._late.popleft()), str(self.path))

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()

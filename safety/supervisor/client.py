# SPDX-License-Identifier: MIT
"""The control process's side of the supervisor: starts it and reports each command to it.

supervisor = SupervisorClient(limit_s)     # before the robot may move
supervisor.hand_over(link.fileno())        # after every open and reconnect
supervisor.watch(True)                     # when commands become due (the robot is armed)
supervisor.beat()                          # after every command is written to the port
supervisor.fired, supervisor.alive()       # every period
supervisor.watch(False); supervisor.close()
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from walkhome.hardware.robot import RobotError
from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.heartbeat import Fired, Heartbeat
from walkhome.safety.supervisor.process import NEW_PORT, NO_PORT, QUIT, RESET

COMMAND_EVERY_S = 0.010
"""A slower loop repeats its newest command at this interval, so that silence is noticed as soon."""
HELD_BEYOND_S = 0.035
"""The board holds a command at least this much longer than the supervisor's limit."""
LONGEST_S = 0.1
"""Upper bound of a command's validity."""
START_S = 10.0
"""Timeout for starting the supervisor process."""
LOST_S = 0.1
"""A supervisor whose last sign of life is older than this counts as lost."""


class SupervisorLost(RobotError):  # noqa: N818 - says what happened
    """The supervisor process is gone or hangs: the robot must not move without it."""


def silence_limit_s(period_s: float, least_s: float) -> float:
    """The longest allowed time between two commands, in seconds.

    It is `least_s`, but at least 1.5 times the interval between commands.

    Args:
        period_s: control period.
        least_s: configured limit (`board.command_gap_s`).
    """
    return max(least_s, 1.5 * min(period_s, COMMAND_EVERY_S))


def validity_s(period_s: float, limit_s: float) -> float:
    """How long the board holds a command, in seconds: longer than the supervisor's limit.

    At most 100 ms. This ends the torque when the supervisor is dead, too.

    Args:
        period_s: control period.
        limit_s: the supervisor's limit, see `silence_limit_s`.
    """
    return min(LONGEST_S, max(3.0 * period_s, limit_s + HELD_BEYOND_S))


class SupervisorClient:
    """Starts one supervisor process and talks to it.

    Args:
        limit_s: longest allowed time between two commands while commands are due.
        latch: path of the emergency stop's latch; `estop.latch_path()` if None.

    Raises:
        SupervisorLost: the process could not be started.
        ValueError: `limit_s` is not between 1 ms and 1 s.
    """

    def __init__(self, limit_s: float, latch: Path | None = None) -> None:
        if not 0.001 <= limit_s <= 1.0:
            raise ValueError(f"the supervisor's limit must be 1 ms to 1 s, got {limit_s} s")
        path = estop.latch_path() if latch is None else latch
        self._heartbeat = Heartbeat()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = self._heartbeat.descriptor
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [
                *(sys.executable, "-m", "walkhome.safety.supervisor.process"),
                *(
                    str(other.fileno()),
                    str(memory),
                    str(round(limit_s * 1e6)),
                    str(path.absolute()),
                ),
            ],
            pass_fds=(other.fileno(), memory),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C and Ctrl-Z are not for it
        )
        other.close()
        deadline_s = time.monotonic() + START_S
        while not self.alive():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.close()
                raise SupervisorLost("the supervisor process could not be started")
            time.sleep(0.002)

    @property
    def pid(self) -> int:
        """Process id of the supervisor; sending it SIGUSR1 is an emergency stop."""
        return self._process.pid

    @property
    def prioritised(self) -> bool:
        """Whether the supervisor has real-time priority; without it, a busy machine delays it."""
        return self._heartbeat.prioritised

    @property
    def fired(self) -> Fired:
        """Why the supervisor stopped the robot; `Fired.NO` if it did not."""
        return self._heartbeat.fired

    def hand_over(self, port: int) -> None:
        """Send the supervisor a duplicate of the port's descriptor; it replaces the last one.

        Args:
            port: file descriptor of the serial port.

        Raises:
            SupervisorLost: the process is gone.
        """
        self._send(NEW_PORT, port)

    def take_back(self) -> None:
        """Make the supervisor close its descriptor of the port.

        Raises:
            SupervisorLost: the process is gone.
        """
        self._send(NO_PORT)

    def watch(self, on: bool) -> None:
        """Switch the check for silence on (before the first command) or off (after the last)."""
        self._heartbeat.watch(on)

    def beat(self) -> None:
        """Record that a whole command was written to the port; call it from the control thread."""
        self._heartbeat.beat()

    def reset(self) -> None:
        """Make a supervisor that fired watch again; the board and the latch stay as they are.

        Raises:
            SupervisorLost: the process is gone.
        """
        self._heartbeat.watch(False)
        self._send(RESET)
        deadline_s = time.monotonic() + LOST_S
        while self.fired is not Fired.NO and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def alive(self) -> bool:
        """Whether the supervisor gave a recent sign of life; takes microseconds."""
        return self._heartbeat.looked_ago_s() < LOST_S

    def close(self) -> None:
        """End the process without a stop frame; safe to call twice. Stop the robot first."""
        with contextlib.suppress(OSError):
            self._socket.send(QUIT)
        self._socket.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._heartbeat.descriptor >= 0:
            os.close(self._heartbeat.descriptor)
            self._heartbeat.descriptor = -1

    def _send(self, message: bytes, port: int | None = None) -> None:
        try:
            socket.send_fds(self._socket, [message], [] if port is None else [port])
        except OSError as error:
            raise SupervisorLost(f"the supervisor process is gone ({error}); restart") from None


def _environment() -> dict[str, str]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path}

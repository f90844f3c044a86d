# SPDX-License-Identifier: MIT
"""The control process's side of its supervisor: start it, give it the port, beat, ask.

supervisor = SupervisorClient(limit_s)     # before the robot may move
supervisor.hand_over(link.fileno())        # after every open and reconnect
supervisor.watch(True)                     # the moment that commands are due (armed)
supervisor.beat()                          # after every command that was written
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

LIMIT_S = 0.025
COMMAND_EVERY_S = 0.010
"""A slower loop repeats its newest command so often, so that its silence is noticed as soon."""
HELD_BEYOND_S = 0.035
LONGEST_S = 0.1
START_S = 10.0
LOST_S = 0.1
"""A supervisor that has not looked for so long is lost."""


class SupervisorLost(RobotError):  # noqa: N818 - says what happened
    """The supervisor process is gone or hangs: the robot must not move without it."""


def silence_limit_s(period_s: float, least_s: float = LIMIT_S) -> float:
    """How long commands may stay away: 25 ms, and never less than one and a half times their space.

    Args:
        period_s: of the loop.
        least_s: as configured.
    """
    return max(least_s, 1.5 * min(period_s, COMMAND_EVERY_S))


def validity_s(period_s: float, limit_s: float = LIMIT_S) -> float:
    """How long the board holds a command: a bit longer than the supervisor waits, at most 100 ms.

    Where the supervisor died too, this is what ends the torque.

    Args:
        period_s: of the loop.
        limit_s: of the supervisor's patience.
    """
    return min(LONGEST_S, max(3.0 * period_s, limit_s + HELD_BEYOND_S))


class SupervisorClient:
    """One supervisor process.

    Args:
        limit_s: longest silence between two commands while it is watched.
        latch: of the emergency stop; the user's when None.

    Raises:
        SupervisorLost: it could not be started.
    """

    def __init__(self, limit_s: float = LIMIT_S, latch: Path | None = None) -> None:
        if not 0.001 <= limit_s <= 1.0:
            raise ValueError(f"the supervisor's limit must be 1 ms to 1 s, got {limit_s}")
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
        """Its process id; SIGUSR1 to it is an emergency stop."""
        return self._process.pid

    @property
    def prioritised(self) -> bool:
        """Whether it has real-time priority; without, it is late when the machine is busy."""
        return self._heartbeat.prioritised

    @property
    def fired(self) -> Fired:
        """Why it stopped the robot; NO while it did not."""
        return self._heartbeat.fired

    def hand_over(self, port: int) -> None:
        """Give it a descriptor of the port of its own, in place of any before.

        Raises:
            SupervisorLost: it is gone.
        """
        self._send(NEW_PORT, port)

    def take_back(self) -> None:
        """The port is gone: it closes its descriptor.

        Raises:
            SupervisorLost: it is gone.
        """
        self._send(NO_PORT)

    def watch(self, on: bool) -> None:
        """Commands are due from now on; or not any more. Before the first and after the last."""
        self._heartbeat.watch(on)

    def beat(self) -> None:
        """A command has been written, all of it. Call it for nothing else, and from no thread."""
        self._heartbeat.beat()

    def reset(self) -> None:
        """After it fired: look again. Clears nothing on the board, and no emergency stop.

        Raises:
            SupervisorLost: it is gone.
        """
        self._heartbeat.watch(False)
        self._send(RESET)
        deadline_s = time.monotonic() + LOST_S
        while self.fired is not Fired.NO and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def alive(self) -> bool:
        """Whether it looked just now; microseconds, for every period."""
        return self._heartbeat.looked_ago_s() < LOST_S

    def close(self) -> None:
        """End it without a stop frame; safe to call twice. Stop the robot before."""
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

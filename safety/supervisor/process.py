# SPDX-License-Identifier: MIT
"""The supervisor process: cuts the torque when the control process stops sending commands.

    heartbeat (shared memory), emergency stop's latch --> verdict --> ESTOP frames on the port

It has its own descriptor of the port and reads from the heartbeat when the last command was
written. It writes ESTOP frames when commands are due and stay away for too long, when the control
process ends, or when the emergency stop is pressed. It needs nothing from the control process to do
so, ignores the terminal's signals, and ends once it has stopped the robot of a control process that
ended. Only `safety.supervisor.client` starts it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from walkhome.hardware.realtime import SUPERVISOR_PRIORITY, prioritise
from walkhome.hardware.serial.protocol import MessageType, encode
from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.heartbeat import Fired, Heartbeat

LOOK_S = 0.005
"""Interval of the checks of the emergency stop, and of the signs of life."""
STOP_FRAMES = 3
RETRY_S = 0.001
GIVE_UP_S = 0.5
"""A port that accepts nothing for this long is dead; the board's own time-out has cut by then."""
NEW_PORT, NO_PORT, RESET, QUIT = b"P", b"N", b"R", b"Q"


def verdict(watched: bool, silent_ns: int, limit_ns: int, pressed: bool, gone: bool) -> Fired:
    """Decide whether to stop the robot; the emergency stop has precedence.

    Args:
        watched: whether commands are due.
        silent_ns: time since the last command.
        limit_ns: largest allowed `silent_ns`.
        pressed: whether the emergency stop is pressed.
        gone: whether the control process has ended.

    Returns:
        The reason to stop, `Fired.NO` if there is none.
    """
    if pressed:
        return Fired.ESTOP
    if watched and gone:
        return Fired.GONE
    if watched and silent_ns >= limit_ns:
        return Fired.SILENT
    return Fired.NO


class SupervisorProcess:
    """The supervisor's main loop and state.

    Args:
        control: socket to the control process; a message is one byte, `NEW_PORT` carries a
            descriptor.
        heartbeat: memory shared with the control process.
        limit_s: longest allowed time between two commands.
        latch: path of the emergency stop's latch.

    Attributes:
        press_signal: set by a signal handler; the loop then presses the emergency stop.
    """

    def __init__(
        self, control: socket.socket, heartbeat: Heartbeat, limit_s: float, latch: Path
    ) -> None:
        self._control, self._heartbeat, self._latch = control, heartbeat, latch
        self._limit_ns = round(limit_s * 1e9)
        self._port: int | None = None
        self._fired = Fired.NO
        self._to_send = 0
        self._since_s = 0.0
        self._seq = 0
        self._gone = False
        self._quit = False
        self.press_signal = False

    def run(self) -> None:
        """Run until the control process asks to quit, or has ended and the robot is stopped."""
        while not self._quit:
            self._look()
            done = self._gone and self._to_send == 0
            if done:
                return
            if select.select([] if self._gone else [self._control], [], [], self._wait_s())[0]:
                self._hear()

    def _look(self) -> None:
        heartbeat = self._heartbeat
        if self.press_signal:
            self.press_signal = False
            with contextlib.suppress(OSError):  # the robot is stopped in any case
                estop.press("a signal to the supervisor", self._latch.parent)
            self._fire(Fired.ESTOP)
        # The command time first: a command written meanwhile can then only shorten the silence.
        command_ns = heartbeat.command_ns
        silent_ns = time.monotonic_ns() - command_ns
        pressed = estop.pressed(self._latch)
        why = verdict(heartbeat.watched, silent_ns, self._limit_ns, pressed, self._gone)
        if why > self._fired:
            self._fire(why)
        if self._to_send:
            self._send()
        heartbeat.look()

    def _wait_s(self) -> float:
        if self._to_send:
            return RETRY_S
        if not self._heartbeat.watched or self._fired is not Fired.NO:
            return LOOK_S
        left_ns = self._heartbeat.command_ns + self._limit_ns - time.monotonic_ns()
        return min(LOOK_S, max(0.0, left_ns * 1e-9))

    def _fire(self, why: Fired) -> None:
        self._fired = why
        self._heartbeat.fire(why)
        self._to_send = STOP_FRAMES
        self._since_s = time.monotonic()
        if self._port is not None:
            # Commands still in the output buffer must not follow or delay the stop.
            with contextlib.suppress(OSError, termios.error):
                termios.tcflush(self._port, termios.TCOFLUSH)

    def _send(self) -> None:
        """Write one stop frame; the delimiter before it ends a partial frame on the wire."""
        if self._port is None or time.monotonic() - self._since_s > GIVE_UP_S:
            self._to_send = 0
            return
        self._seq += 1
        frame = b"\0" + encode(MessageType.ESTOP, {"nonce": self._seq}, self._seq, 0)
        try:
            if os.write(self._port, frame) == len(frame):
                self._to_send -= 1
        except BlockingIOError:
            return  # the buffer is full: retry after RETRY_S
        except (OSError, termios.error):
            self._to_send = 0  # the cable is unplugged: the board's own time-out cuts

    def _hear(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1, 4)
        except OSError:
            message, descriptors = b"", []
        if message == NEW_PORT and descriptors:
            self._use(descriptors.pop())
        elif message == NO_PORT:
            self._use(None)
        elif message == RESET:
            self._fired, self._to_send = Fired.NO, 0
            self._heartbeat.fire(Fired.NO)
        elif message == QUIT:
            self._quit = True
        elif not message:
            self._gone = True
        for descriptor in descriptors:
            os.close(descriptor)

    def _use(self, port: int | None) -> None:
        if self._port is not None:
            os.close(self._port)
        self._port = port
        if port is not None and self._fired is not Fired.NO:
            self._fire(self._fired)  # stop the board on a reopened port, too


def main(arguments: Sequence[str]) -> int:
    """Run a supervisor process.

    Args:
        arguments: descriptor of the socket, descriptor of the heartbeat's memory, limit in
            microseconds, path of the latch.

    Returns:
        The exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    control, memory, limit_us, latch = arguments
    granted = prioritise(SUPERVISOR_PRIORITY, lock_future=True)
    heartbeat = Heartbeat(int(memory))
    heartbeat.set_prioritised(granted.scheduler)
    supervisor = SupervisorProcess(
        socket.socket(fileno=int(control)),
        heartbeat,
        int(limit_us) * 1e-6,
        Path(latch),
    )

    def press(number: int, frame: object) -> None:
        supervisor.press_signal = True

    signal.signal(signal.SIGUSR1, press)
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

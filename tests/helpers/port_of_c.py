# SPDX-License-Identifier: MIT
"""The board's C code behind a pseudo-terminal; its time passes while the host waits."""

import contextlib
import os
import pty
import tty

from board_of_c import Board
from bodies import MINITAUR

from walkhome.hardware.serial.board import BoardTiming, SerialRobot
from walkhome.hardware.serial.link import SerialLink

STEP_S = 0.001
STATE_EVERY = 10  # steps


class PortOfC:
    """A port with a board on it.

    Attributes:
        name: path of the port.
        board: the board (`board_of_c.Board`).
        heard: all bytes that the host has sent.
        mangle: function that the wire applies to the board's bytes.
        frozen: whether the board has stopped working.
        torque_steps: the steps in which a motor had torque.
    """

    def __init__(self, **changes):
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.name = os.ttyname(self._slave)
        self.board = Board(**{"robot_id": b"test-robot", **changes})
        self.heard = b""
        self.mangle = lambda data: data
        self.frozen = False
        self.steps = 0
        self.torque_steps = []

    def now(self):
        return 100.0 + self.steps * STEP_S

    def step(self):
        """Run board and wire for `STEP_S`."""
        self.steps += 1
        try:
            data = os.read(self.master, 4096)
        except (BlockingIOError, OSError):
            data = b""
        self.heard += data
        if self.frozen:
            return
        self.board.feed(data)
        if self.board.tick().any():
            self.torque_steps.append(self.steps)
        if self.steps % STATE_EVERY == 0:
            self.board._core.report(self.board.sensors, self.board.now_us)
        sent = self.mangle(self.board._core.transmit())
        if sent:
            with contextlib.suppress(BlockingIOError):  # a full buffer loses bytes
                os.write(self.master, sent)

    def run(self, seconds):
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def open_link(self, port, baud):
        link = SerialLink(port, baud)
        ready, read = link.wait, link.read

        def wait(timeout_s):
            end_s = self.now() + timeout_s
            while not ready(0.0):
                if self.now() >= end_s - 1e-9:
                    return False
                self.step()
            return True

        def read_all():
            frames = []
            # Bytes that the board has written arrive without a step of its time; polling again
            # lets Linux deliver those that are still on their way.
            while ready(0.0):
                frames += read()
            return frames

        link.wait, link.read = wait, read_all
        return link

    def robot(self, wiring=None, **timing):
        return SerialRobot(
            self.name,
            MINITAUR,
            wiring=wiring,
            timing=BoardTiming(**timing),
            clock=self.now,
            open_link=self.open_link,
        )

    def unplug(self):
        """Close both ends of the pseudo-terminal."""
        for end in ("master", "_slave"):
            if getattr(self, end) is not None:
                os.close(getattr(self, end))
            setattr(self, end, None)

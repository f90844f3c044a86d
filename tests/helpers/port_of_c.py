# SPDX-License-Identifier: MIT
"""The board's C code behind a pseudo-terminal, in a time that passes when the host waits."""

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
    """A port with a board on it; `mangle` is what the wire does to the board's bytes."""

    def __init__(self, **changes):
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.name = os.ttyname(self._slave)
        self.board = Board(**{"robot_id": b"test-robot", **changes})
        self.heard = b""  # all that the host sent
        self.mangle = lambda data: data
        self.frozen = False
        self.steps = 0
        self.torque_steps = []

    def now(self):
        return 100.0 + self.steps * STEP_S

    def step(self):
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
        said = self.mangle(self.board._core.transmit())
        if said:
            with contextlib.suppress(BlockingIOError):  # nobody reads: a full buffer loses it
                os.write(self.master, said)

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
            # What the board has written arrives in no time of this world: asked for more, Linux
            # first brings what is still on its way.
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
        for end in ("master", "_slave"):
            if getattr(self, end) is not None:
                os.close(getattr(self, end))
            setattr(self, end, None)

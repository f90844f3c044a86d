# SPDX-License-Identifier: MIT
"""An emulated board and its host in one process, in the board's own time: exact and repeatable.

Time passes only while the host waits: its sleep and its wait for bytes step the board. All else is
real: the firmware, the pseudo-terminal, the link, the pose socket.
"""

import contextlib
import json
from types import SimpleNamespace

from walkhome.hardware.pose.guard import PoseGuard, SocketPose
from walkhome.hardware.serial.board import BoardTiming, SerialRobot
from walkhome.hardware.serial.link import SerialLink
from walkhome.robot.board.arming import Arming
from walkhome.robot.board.emulate import Emulation, make_emulated_board
from walkhome.robot.board.plant import BoardPlant
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.clock import WallClock
from walkhome.sim.emulator.faults import InjectedFault
from walkhome.sim.emulator.pose import PoseSettings

STEP_S = 0.002


class World:
    """An emulated board, its robot on the floor, and the host's side of it.

    Args:
        folder: for the port's link, the log and the pose socket.
        faults: as `robot emulate --fault` takes them.
        sets: overrides of the configuration.
        pose: quality of the poses; None: the default.
        what: other options of `Emulation`.

    Attributes:
        config: the resolved configuration.
        said: messages for people.
    """

    def __init__(self, folder, *faults, sets=(), pose=None, **what):
        self.folder = folder
        self.config = resolve_config(overrides=sets).config
        self._stack = contextlib.ExitStack()
        self.link_path, pose_path = folder / "robot", folder / "pose"
        self._log = folder / "log.jsonl"
        self.board = make_emulated_board(
            self.config,
            Emulation(
                faults=[InjectedFault.parse(text) for text in faults],
                link=self.link_path,
                log=self._log,
                poses=pose_path,
                pose_settings=pose or PoseSettings(),
                **what,
            ),
            self._stack,
        )
        self.board._clock = self.now
        self.twin = self.board._twin
        self.pose = PoseGuard(SocketPose(pose_path), self.now)
        self._stack.callback(self.pose.close)
        self.said = []

    def now(self):
        """Board time, s."""
        return self.twin.time_s

    def sleep(self, seconds):
        """Let board time pass."""
        end_s = self.now() + seconds
        while self.now() < end_s - 1e-9:
            self.board.step()
            self.board.tell_pose()

    def open_link(self, port, baud):
        """Open the port with a link that steps the board while it waits."""
        link = SerialLink(port, baud)
        ready, read = link.wait, link.read

        def wait(timeout_s):
            end_s = self.now() + timeout_s
            while not ready(0.0):
                if self.now() >= end_s - 1e-9:
                    return False
                self.sleep(STEP_S)
            return True

        def read_all():
            frames = []
            # Bytes that the board has written arrive without a step of this world's time; polling
            # again lets Linux deliver those that are still on their way.
            while ready(0.0):
                frames += read()
            return frames

        link.wait, link.read = wait, read_all
        return link

    def robot(self, **timing):
        """A robot on the port, not open yet; `timing` as in `BoardTiming`."""
        made = SerialRobot(
            str(self.link_path),
            self.config.robot.to_body(),
            timing=BoardTiming(**timing),
            clock=self.now,
            open_link=self.open_link,
        )
        self._stack.callback(made.close)
        return made

    def plant(self, known_zero_table=1, **timing):
        """An open robot as a plant, without a supervisor, not armed yet."""
        robot = self.robot(**timing)
        robot.open()
        rate_hz = self.config.control.rate_hz
        clock = WallClock(rate_hz, self.now, self.sleep, meanwhile=robot.repeat, heard=robot.heard)
        arming = Arming(
            robot,
            self.pose,
            self.config,
            known_zero_table,
            clock,
            self.said.append,
            estop=lambda: "",
        )
        return BoardPlant(robot, self.pose, clock, self.config, arming)

    def events(self, kind):
        """The events of one kind in the board's log."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if line["event"] == kind]

    def close(self):
        self._stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


GO = SimpleNamespace(requested=False)

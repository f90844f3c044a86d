# SPDX-License-Identifier: MIT
"""`robot emulate`: the emulated board behind a pseudo-terminal, in real time, until stopped.

twin (physics) <--> firmware (C) <--> pseudo-terminal <--> any walkhome command on its port
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.rotation import quaternion
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import MEANWHILE_UNTIL_S
from walkhome.robot.control.stop_request import StopRequest
from walkhome.robot.control.twin_plant import make_twin
from walkhome.sim.emulator.board import BoardSettings, EmulatedBoard
from walkhome.sim.emulator.faults import InjectedFault
from walkhome.sim.emulator.jig import Jig
from walkhome.sim.emulator.pose import PosePublisher, PoseSettings
from walkhome.sim.twin import START_HEIGHT_M, PyBulletRobot

# How the robot is put down: roll in rad; in the jig it hangs.
STARTS = {"belly": 0.0, "side": 0.5 * np.pi, "back": np.pi, "jig": 0.0}
LIES_STILL_S = 2.0
PULLED_S = 1.0
UNCALIBRATED_RAD = 0.4  # largest error of an uncalibrated encoder


@dataclass(frozen=True)
class Emulation:
    """Options of `robot emulate`.

    Attributes:
        faults: faults and their times.
        real_time_factor: simulated seconds per wall-clock second.
        link: path of a symbolic link to the port, renewed whenever the cable is plugged in; None:
            no link.
        log: file for the board's events, JSON lines; None: no log.
        poses: socket to which poses are sent; None: no poses.
        pose_settings: rate, noise, delay and gaps of the poses.
        start: how the robot is put down: a key of `STARTS`.
        robot_id: id of the robot.
        zero_table: id of the board's zero table.
        uncalibrated: whether each encoder is off by up to `UNCALIBRATED_RAD`.
        battery_v: battery voltage.
    """

    faults: Sequence[InjectedFault] = ()
    real_time_factor: float = 1.0
    link: Path | None = None
    log: Path | None = None
    poses: Path | None = None
    pose_settings: PoseSettings = field(default_factory=PoseSettings)
    start: str = "belly"
    robot_id: str = "emulated"
    zero_table: int = 1
    uncalibrated: bool = False
    battery_v: float = 16.0


def emulate(
    config: Config, stop: StopRequest, say: Callable[[str], object], what: Emulation
) -> None:
    """Run the emulated board in real time. SIGUSR1 pulls its cable for a second.

    Args:
        config: terrain, body, physics and seed.
        stop: asked every physics step.
        say: called with the port, as text for people.
        what: options of the emulation.

    Raises:
        RobotError: there is no C compiler for the firmware, or the physics diverged.
        OSError: the link or the log can't be written.
    """
    with contextlib.ExitStack() as stack:
        board = make_emulated_board(config, what, stack)
        for _ in range(round(LIES_STILL_S * config.sim.physics_rate_hz)):
            board.step()  # the robot comes to rest before the cable is plugged in
        say(f"board on {what.link or board.port} ({config.terrain.name}); Ctrl-C ends it")
        pulled: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, frame: pulled.append(number))
        stack.callback(signal.signal, signal.SIGUSR1, before)

        def stopped() -> bool:
            if pulled:
                pulled.clear()
                board.pull_cable(PULLED_S)
            return stop.requested

        board.run(stopped, what.real_time_factor)


def make_emulated_board(
    config: Config, what: Emulation, stack: contextlib.ExitStack
) -> EmulatedBoard:
    """Make the emulated board.

    Args:
        config: terrain, body, physics and seed.
        what: options of the emulation.
        stack: closes the board and its log.

    Raises:
        RobotError: there is no C compiler for the firmware.
        OSError: the link or the log can't be written.
    """
    settings = _settings(what, config.run.seed)
    # The configured latency is from the sensor to the control loop. Two parts of it are real here,
    # so the twin leaves them out: the wire, and the host's wait after telemetry has arrived.
    latency_s = max(0.0, config.sim.sensor_latency_s - settings.frame_s - MEANWHILE_UNTIL_S)
    sim = config.sim.model_copy(update={"sensor_latency_s": latency_s})
    twin = make_twin(config.model_copy(update={"sim": sim}), config.run.seed).robot
    assert isinstance(twin, PyBulletRobot)
    jig = Jig(twin) if what.start == "jig" else None
    if jig is None:
        # Legs folded, as a robot is put down.
        folded = np.full(N_MOTORS, config.robot.to_body().extension_min_rad + 0.2)
        attitude = quaternion(roll_rad=STARTS[what.start])
        twin.place(np.array([0.0, 0.0, START_HEIGHT_M]), attitude, folded)
    stream = stack.enter_context(what.log.open("w")) if what.log is not None else None
    poses = None
    if what.poses is not None:
        poses = PosePublisher(what.poses, what.pose_settings, config.run.seed)
    board = EmulatedBoard(
        twin, settings, what.faults, stream, config.run.seed, poses=poses, jig=jig
    )
    stack.callback(board.close)
    return board


def _settings(what: Emulation, seed: int) -> BoardSettings:
    offsets = np.zeros(N_MOTORS)
    if what.uncalibrated:
        offsets = np.random.default_rng([seed, 4]).uniform(-1.0, 1.0, N_MOTORS)
        offsets *= UNCALIBRATED_RAD
    return BoardSettings(
        link=None if what.link is None else str(what.link),
        robot_id=what.robot_id,
        zero_table=what.zero_table,
        battery_v=what.battery_v,
        encoder_offset_rad=tuple(offsets.tolist()),
    )

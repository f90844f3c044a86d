# SPDX-License-Identifier: MIT
"""`robot emulate`: a board on a pseudo-terminal until somebody says stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hardware.rotation import quaternion
from robot.config_schema import Config
from robot.rig import make_twin
from sim.board import BoardSettings, EmulatedBoard
from sim.board_faults import Fault
from sim.twin import START_HEIGHT_M, PyBulletRobot


class StopRequest(Protocol):
    """Whether somebody asked it to end."""

    requested: bool


def emulate(
    config: Config,
    stop: StopRequest,
    say: Callable[[str], object],
    faults: Sequence[Fault] = (),
    real_time_factor: float = 1.0,
    link: Path | None = None,
    log: Path | None = None,
) -> None:
    """Run a board in real time.

    Args:
        config: terrain, body, physics and seed.
        stop: asked every physics step.
        say: told the port, for people.
        faults: what goes wrong, and when.
        real_time_factor: pace; 1 is a robot's.
        link: a symbolic link to the port is kept here, also when the cable is put back.
        log: events go here.

    Raises:
        RobotError: there is no C compiler for the firmware, or the physics diverged.
        OSError: the link or the log can't be written.
    """
    twin = make_twin(config, config.run.seed).robot
    assert isinstance(twin, PyBulletRobot)
    # Lying on its belly with its legs folded, as a robot is put down.
    folded = np.full(8, config.robot.to_body().extension_min_rad + 0.2)
    twin.place(np.array([0.0, 0.0, START_HEIGHT_M]), quaternion(0.0, 0.0, 0.0), folded)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(log.open("w")) if log is not None else None
        settings = BoardSettings(link=None if link is None else str(link))
        board = EmulatedBoard(twin, settings, faults, stream, config.run.seed)
        stack.callback(board.close)
        say(f"board on {link or board.port} ({config.terrain.name}); Ctrl-C ends it")
        board.run(lambda: stop.requested, real_time_factor)

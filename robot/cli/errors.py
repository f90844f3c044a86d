# SPDX-License-Identifier: MIT
"""Errors of the command line: one line on standard error that starts with "error: ".

    usage, bad input   exit code 2 (`bad_input`), before anything is written
    failures           exit code 1 (`failures`)
    not safe           exit code 3 (`board_refusals`)

An exception that none of these context managers expects is a defect and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from walkhome.robot.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SAFETY, EXIT_USAGE

# Click's UsageError; typer moves click between versions, so take it from the class hierarchy.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class OneLineErrors(TyperGroup):
    """A typer group that reports usage errors in one line, like every other error."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command; see `typer.core.TyperGroup.main`."""
        standalone = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        if not standalone:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
        except _USAGE_ERROR as error:
            context = getattr(error, "ctx", None)
            hint = f"; see `{context.command_path} --help`" if context else ""
            fail(f"{error.format_message().rstrip('.')}{hint}")  # type: ignore[attr-defined]
        except typer.Abort:
            code = EXIT_INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, code: int = EXIT_USAGE) -> NoReturn:
    """Print one line on standard error and exit.

    Raises:
        SystemExit: always, with `code`.
    """
    typer.echo("error: " + " ".join(message.split()), err=True)
    raise SystemExit(code)


@contextlib.contextmanager
def bad_input() -> Iterator[None]:
    """Report an invalid configuration or run folder in one line and exit with code 2."""
    from walkhome.robot.config.resolve import ConfigError
    from walkhome.robot.storage.run_folder import RunError

    try:
        yield
    except (ConfigError, RunError) as error:
        fail(str(error))


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Report a failure of the robot, the learner or the disk in one line and exit with code 1."""
    from walkhome.hardware.robot import RobotError
    from walkhome.learning.checkpoint import CheckpointInvalid
    from walkhome.learning.remote.process import LearnerLost
    from walkhome.robot.storage.journal import JournalError

    known = (RobotError, JournalError, CheckpointInvalid, LearnerLost, FloatingPointError)
    try:
        yield
    except known as error:
        fail(str(error) or type(error).__name__, EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{(error.strerror or str(error)).lower()}", EXIT_FAILED)


@contextlib.contextmanager
def film_failures() -> Iterator[None]:
    """Report a film that can't be written in one line and exit with code 1."""
    from walkhome.robot.video.mp4 import VideoError

    try:
        yield
    except VideoError as error:
        fail(str(error), EXIT_FAILED)


@contextlib.contextmanager
def board_refusals() -> Iterator[None]:
    """Report why a board can't be used now in one line.

    The exit code is 2 for what the user can correct (port, calibration, pose source), 3 if arming
    would not be safe, and 1 for failures (`failures`).
    """
    from walkhome.hardware.pose.guard import PoseSourceRefused
    from walkhome.hardware.serial.handshake import BoardRefused
    from walkhome.hardware.serial.link import PortRefused
    from walkhome.robot.board.calibration import CalibrationInvalid
    from walkhome.robot.board.examination import NotReady
    from walkhome.safety.lease import LeaseTaken

    correctable = (PortRefused, BoardRefused, PoseSourceRefused, CalibrationInvalid, LeaseTaken)
    with failures():
        try:
            yield
        except correctable as error:
            fail(str(error))
        except NotReady as error:
            fail(str(error), EXIT_SAFETY)

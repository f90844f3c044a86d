# SPDX-License-Identifier: MIT
"""What the verbs of `robot` share: options, bad input in one line, the wish to stop, tables.

Exit codes: 0 done, 1 failed, 2 usage or bad input, 3 stopped for safety, 130 interrupted. Bad input
is one line on standard error that starts with "error: ", before anything is written.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SAFETY = 3
EXIT_INTERRUPTED = 130


class OneLineErrors(TyperGroup):
    """Says what is wrong with a command line in one line, as every other error."""

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


# Click's UsageError, wherever this version of typer keeps click.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

TerrainOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="flat, mattress, doormat, or a YAML file's path."),
]
TasksOption = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Of forward, backward, left, right; with commas."),
]
MinutesOption = Annotated[
    float | None, typer.Option(help="Robot minutes: moving, standing up and waiting.")
]
SeedOption = Annotated[int | None, typer.Option(help="Of everything random.")]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A YAML file over the shipped learn.yaml.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key, as learning.batch_size=128."),
]
PortOption = Annotated[
    str | None, typer.Option(metavar="PORT", help="A board's serial port; robot doctor lists them.")
]
PoseOption = Annotated[
    str | None,
    typer.Option(metavar="SOURCE", help="auto, unix:PATH, odometry, ... (docs/first-hour.md)."),
]
BoardSetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="On a port: a key of `board`."),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON, no live view.")]


class StopRequest:
    """Turns SIGINT, SIGTERM and SIGHUP into a wish: the first asks, the second insists.

    A SIGHUP that is ignored stays so: whoever typed `nohup` wants the run to outlive the terminal.

    Attributes:
        requested: somebody asked; the loop settles the robot, saves and returns.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        """Take the signals over."""
        for number in self._SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def resolve(
    terrain: str | None,
    tasks: str | None,
    minutes: float | None,
    seed: int | None,
    config: Path | None,
    overrides: list[str] | None,
    port: str | None = None,
    pose: str | None = None,
) -> Any:
    """The configuration that these options give; see `robot.config.resolve.resolve_config`."""
    from walkhome.robot.config.resolve import resolve_config

    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    flags = {"terrain": terrain, "tasks": names, "run.minutes": minutes, "run.seed": seed}
    flags |= {"board.port": port, "board.pose": pose}
    return resolve_config(config, flags=flags, overrides=overrides or ())


def help_without_command(context: typer.Context) -> None:
    """Show the help when no verb is given; that is not a success."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def fail(message: str, code: int = EXIT_USAGE) -> NoReturn:
    """Leave with one line on standard error."""
    typer.echo("error: " + " ".join(message.split()), err=True)
    raise SystemExit(code)


@contextlib.contextmanager
def bad_input() -> Iterator[None]:
    """What the user can mend, in one line."""
    from walkhome.robot.config.resolve import ConfigError
    from walkhome.robot.storage.run_folder import RunError

    try:
        yield
    except (ConfigError, RunError) as error:
        fail(str(error))


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """What went wrong on the way, in one line; a defect of ours keeps its traceback."""
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
def board_refusals() -> Iterator[None]:
    """What speaks against using a board now, in one line: bad input, or not safe."""
    from walkhome.hardware.pose.guard import PoseSourceRefused
    from walkhome.hardware.serial.handshake import BoardRefused
    from walkhome.hardware.serial.link import PortRefused
    from walkhome.robot.board.arming import NotReady
    from walkhome.robot.board.calibration import CalibrationInvalid
    from walkhome.safety.lease import LeaseTaken

    to_mend = (PortRefused, BoardRefused, PoseSourceRefused, CalibrationInvalid, LeaseTaken)
    with failures():
        try:
            yield
        except to_mend as error:
            fail(str(error))
        except NotReady as error:
            fail(str(error), EXIT_SAFETY)


def cut(port: str | None) -> NoReturn:
    """Leave after the second signal, which cut the torque; a board keeps its stop latched."""
    if port is not None:
        tell_latched(port)
    raise SystemExit(EXIT_INTERRUPTED)


def tell_latched(port: str) -> None:
    """How to release the stop that a cut leaves on a board."""
    typer.echo(
        f"the board's stop is latched: robot doctor --port {shlex.quote(port)} --release", err=True
    )


def require_device(device: str) -> None:
    """Refuse before anything is written when the learner's device can't be had."""
    if device == "cpu":
        return
    # Asked in a process of its own: a robot's control process does without torch.
    ask = "from learning.cuda_sac import why_no_cuda; print(why_no_cuda())"
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    why = done.stderr.strip().rpartition("\n")[2] if done.returncode else done.stdout.strip()
    if why or done.returncode:
        fail(f"learning.device: {why} (learning.device=cpu)")


def require_twin() -> None:
    """Refuse before anything is written when there is no PyBullet for this Python."""
    try:
        with _quiet_stderr():
            import pybullet  # noqa: F401
    except ImportError:
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        fail(
            "the twin needs PyBullet, which has wheels for Python 3.10 and 3.11 on Linux x86_64 "
            f'(this is Python {here}): use one of those and pip install "walkhome[sim]"'
        )


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    # PyBullet prints its build time from C when it is loaded.
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def print_table(tasks: dict[str, dict[str, Any]]) -> None:
    """Tasks as rows, their plain numbers and words as columns."""
    columns = [
        key
        for key, value in next(iter(tasks.values()), {}).items()
        if isinstance(value, (int, float, str))
    ]
    rows = [["task", *columns]]
    rows += [[name, *(_cell(task.get(key)) for key in columns)] for name, task in tasks.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        typer.echo("  ".join(cells).rstrip())


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)

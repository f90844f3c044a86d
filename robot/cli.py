# SPDX-License-Identifier: MIT
"""The command `robot`: parses, resolves, and hands over. Whatever is heavy is imported by its verb.

Exit codes: 0 done, 1 failed, 2 usage or bad input, 3 stopped for safety, 130 interrupted. Bad input
is one line on standard error that starts with "error: ", before anything is written.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import signal
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
# What a run's status means to a script.
_EXIT_OF = {"done": 0, "interrupted": EXIT_INTERRUPTED, "needs_help": EXIT_SAFETY}


class _OneLineErrors(TyperGroup):
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
            _fail(f"{error.format_message().rstrip('.')}{hint}")  # type: ignore[attr-defined]
        except typer.Abort:
            code = EXIT_INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


# Click's UsageError, wherever this version of typer keeps click.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    cls=_OneLineErrors,
    help="A four-legged robot learns to walk by itself.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Look at the configuration.", rich_markup_mode=None)
app.add_typer(config_app, name="config")

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
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON, no live view.")]


class StopRequest:
    """Turns SIGINT, SIGTERM and SIGHUP into a wish: the first asks, the second insists.

    Attributes:
        requested: somebody asked; the loop settles the robot, saves and returns.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._handle) for number in self._SIGNALS}
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"walkhome {installed('walkhome')}")
        raise typer.Exit
    _help_without_command(context)


@config_app.callback(invoke_without_command=True)
def _config_root(context: typer.Context) -> None:
    _help_without_command(context)


@app.command()
def learn(
    terrain: TerrainOption = None,
    tasks: TasksOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A new folder; else runs/<terrain>-<time>-s<seed>."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a run; --minutes gives it more."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn to walk in the simulated twin. Ctrl-C settles the robot, saves and ends."""
    with StopRequest() as stop:
        with _bad_input():
            if resume is not None:
                if any(o is not None for o in (terrain, tasks, seed, config, overrides, run_dir)):
                    _fail("--resume takes everything from the run; only --minutes and --json go")
                _require_twin()
                folder = _open_to_resume(resume, minutes)
            else:
                resolved = _resolve(terrain, tasks, minutes, seed, config, overrides)
                if run_dir is not None:
                    from robot.run import check_creatable

                    check_creatable(run_dir)
                _require_twin()
                from robot.run import RunFolder

                folder = RunFolder.create(run_dir, resolved.config)
        summary = _learn(folder, stop, resume is not None, as_json)
        _tell_summary(folder.path, summary, as_json)
    raise typer.Exit(_EXIT_OF.get(str(summary.get("status")), EXIT_FAILED))


def _open_to_resume(path: Path, minutes: float | None) -> Any:
    from robot.run import RunFolder

    if minutes is not None and not 0.0 < minutes <= 100_000.0:
        _fail("--minutes: write a number above 0")
    folder = RunFolder.resume(path, minutes)
    summary = folder.summary() or {}
    total = float(summary.get("robot_minutes", {}).get("total", 0.0))
    if summary.get("status") == "done" and total >= folder.config.run.minutes:
        folder.close()
        _fail(
            f"{path}: its {folder.config.run.minutes:g} robot minutes are done; "
            "give it more with --minutes"
        )
    return folder


def _learn(folder: Any, stop: StopRequest, resume: bool, as_json: bool) -> dict[str, Any]:
    from robot.view import make_view

    with _failures(), folder:
        view = make_view(as_json=as_json)
        try:
            view.message(f"run folder: {folder.path}")
            from robot.loop import learn as run_loop

            return run_loop(folder.config, folder, view, stop, resume=resume)
        except KeyboardInterrupt:
            raise _Cut(folder.path) from None
        finally:
            view.close()


class _Cut(SystemExit):
    """Stopped at once, by the second signal."""

    def __init__(self, path: Path) -> None:
        super().__init__(EXIT_INTERRUPTED)
        typer.echo(f"cut; resume with: robot learn --resume {shlex.quote(str(path))}", err=True)


@app.command("eval")
def evaluate(
    run: RunArgument,
    as_json: JsonOption = False,
    episodes: Annotated[int, typer.Option(min=1, max=10_000, help="Roll-outs per task.")] = 5,
    terrain: TerrainOption = None,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=3600.0, help="Length of a roll-out.")
    ] = 10.0,
) -> None:
    """Measure the learned gaits: deterministic roll-outs of every task in the twin."""
    with _bad_input():
        if math.isnan(seconds):  # passes every range check
            _fail("--seconds: write a number")
        from robot.run import RunFolder

        RunFolder.open(run)
        _require_twin()
        from learning.policy import PolicyInvalid
        from robot.evaluate import evaluate as measure

        with _failures():
            try:
                result = measure(run, terrain, episodes, seconds, film=terrain is None)
            except PolicyInvalid as error:
                _fail(str(error))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_table(result.get("tasks", {}))


@app.command()
def report(run: RunArgument) -> None:
    """Write RUN/report/report.html: learning curves, workspace map, falls, multipliers."""
    with _bad_input():
        from robot.run import RunFolder

        folder = RunFolder.open(run)
        try:
            from robot.report import write_report
        except ImportError as error:
            if error.name not in ("matplotlib", "jinja2"):
                raise
            _fail(f'the report needs {error.name}: pip install "walkhome[report]"')
        with _failures():
            path = write_report(folder)
    typer.echo(path)


@app.command()
def export(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A new folder; else RUN/export.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="parquet", help="The only one so far.")
    ] = "parquet",
) -> None:
    """Write a run's steps as Parquet files, in the layout of LeRobotDataset v3.0."""
    with _bad_input():
        if format_ != "parquet":
            _fail(f"--format: {format_!r} is not known; use parquet")
        from robot.export import export as write
        from robot.run import RunFolder

        with _failures():
            try:
                path = write(RunFolder.open(run), run / "export" if out is None else out)
            except ImportError as error:
                if error.name not in ("pyarrow", "pandas"):
                    raise
                _fail(f'the export needs {error.name}: pip install "walkhome[export]"')
    typer.echo(path)


@app.command()
def emulate(
    terrain: TerrainOption = None,
    seed: SeedOption = None,
    real_time_factor: Annotated[
        float, typer.Option(min=0.01, max=100.0, help="1 is a robot's pace.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND@START:SECONDS", help="mute, freeze, garble, delay, unplug, ..."),
    ] = None,
    link: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A symbolic link to the port is kept here.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Events, a JSON object a line.")
    ] = None,
) -> None:
    """Emulate a robot's board on a serial port: its firmware, with the twin as its physics."""
    with StopRequest() as stop, _bad_input():
        resolved = _resolve(terrain, None, None, seed, None, None)
        if math.isnan(real_time_factor):  # passes every range check
            _fail("--real-time-factor: write a number")
        _require_twin()
        from robot.emulate import emulate as run
        from sim.board_faults import Fault, FaultInvalid

        try:
            faults = [Fault.parse(text) for text in fault or ()]
        except FaultInvalid as error:
            _fail(f"--fault: {error}")
        with _failures():
            run(resolved.config, stop, typer.echo, faults, real_time_factor, link, log)
    raise typer.Exit(EXIT_INTERRUPTED)


@config_app.command("show")
def config_show(
    origin: Annotated[bool, typer.Option("--origin", help="Where each value came from.")] = False,
    terrain: TerrainOption = None,
    tasks: TasksOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Print the configuration that the same options would give `robot learn`."""
    with _bad_input():
        from robot.config import config_to_yaml

        resolved = _resolve(terrain, tasks, minutes, seed, config, overrides)
    if not origin:
        typer.echo(config_to_yaml(resolved.config), nl=False)
        return
    rows = [(key, json.dumps(value), where) for key, value, where in resolved.rows()]
    key_width, value_width = (max(len(row[i]) for row in rows) for i in (0, 1))
    for key, value, where in rows:
        typer.echo(f"{key:{key_width}}  {value:{value_width}}  {where}")


def main() -> None:
    """Entry point of the command `robot`."""
    app()


def _resolve(
    terrain: str | None,
    tasks: str | None,
    minutes: float | None,
    seed: int | None,
    config: Path | None,
    overrides: list[str] | None,
) -> Any:
    from robot.config import resolve_config

    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    flags = {"terrain": terrain, "tasks": names, "run.minutes": minutes, "run.seed": seed}
    return resolve_config(config, flags=flags, overrides=overrides or ())


def _help_without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def _fail(message: str, code: int = EXIT_USAGE) -> NoReturn:
    typer.echo("error: " + " ".join(message.split()), err=True)
    raise SystemExit(code)


@contextlib.contextmanager
def _bad_input() -> Iterator[None]:
    """What the user can mend, in one line."""
    from robot.config import ConfigError
    from robot.run import RunError

    try:
        yield
    except (ConfigError, RunError) as error:
        _fail(str(error))


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """What went wrong on the way, in one line; a defect of ours keeps its traceback."""
    from hardware.robot import RobotError
    from learning.checkpoint import CheckpointInvalid
    from robot.journal import JournalError

    try:
        yield
    except (RobotError, JournalError, CheckpointInvalid, FloatingPointError) as error:
        _fail(str(error) or type(error).__name__, EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{(error.strerror or str(error)).lower()}", EXIT_FAILED)


def _require_twin() -> None:
    """Refuse before anything is written when there is no PyBullet for this Python."""
    try:
        with _quiet_stderr():
            import pybullet  # noqa: F401
    except ImportError:
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        _fail(
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


def _tell_summary(path: Path, summary: dict[str, Any], as_json: bool) -> None:
    with contextlib.suppress(BrokenPipeError):
        if as_json:
            typer.echo(json.dumps({"event": "summary", "run": str(path), **summary}))
            return
        minutes = summary.get("robot_minutes", {}).get("total", 0.0)
        typer.echo(
            f"{summary.get('status')}: {minutes:.1f} robot minutes, {summary.get('falls')} falls, "
            f"{summary.get('human_resets')} human resets"
        )
        _print_table(summary.get("tasks", {}))
        name = shlex.quote(str(path))
        if summary.get("status") != "done":
            typer.echo(f"resume with: robot learn --resume {name}")
        typer.echo(f"next: robot eval {name}    robot report {name}")


def _print_table(tasks: dict[str, dict[str, Any]]) -> None:
    """Tasks as rows, their plain numbers as columns."""
    columns = [
        key
        for key, value in next(iter(tasks.values()), {}).items()
        if isinstance(value, (int, float))
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


if __name__ == "__main__":
    main()

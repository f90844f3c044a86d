# SPDX-License-Identifier: MIT
"""`robot learn`: start a run, or resume one."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from walkhome.robot.cli.common import (
    ConfigOption,
    JsonOption,
    MinutesOption,
    PortOption,
    PoseOption,
    SeedOption,
    SetOption,
    TasksOption,
    TerrainOption,
    resolve,
)
from walkhome.robot.cli.errors import bad_input, board_refusals, fail, failures
from walkhome.robot.cli.output import print_release_hint, print_table
from walkhome.robot.cli.requirements import require_device, require_twin
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SAFETY

# Exit code by the status of a run; other statuses are failures.
_EXIT_OF = {"done": 0, "interrupted": EXIT_INTERRUPTED, "needs_help": EXIT_SAFETY}


def learn(
    terrain: TerrainOption = None,
    tasks: TasksOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="New folder of the run; default: runs/<terrain>-<time>-s<seed>."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Resume a run; --minutes sets its new total."),
    ] = None,
    port: PortOption = None,
    pose: PoseOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --port: run everything except torque for 5 s.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn to walk, in the simulated twin or, with --port, on a robot.

    Ctrl-C lets the robot settle, saves the run and ends; a second Ctrl-C cuts the torque at once.
    """
    others = (terrain, tasks, seed, config, overrides, run_dir)
    with StopSignal() as stop, contextlib.ExitStack() as stack:
        with bad_input():
            if resume is not None:
                if dry_run or any(option is not None for option in others):
                    fail(
                        "--resume takes everything from the run; only --minutes, --port, --pose "
                        "and --json can be given with it"
                    )
                from walkhome.robot.storage.run_folder import RunFolder

                plant = _make_plant(RunFolder.open(resume).config, port, pose, stack)
                folder = _open_to_resume(resume, minutes)
            else:
                resolved = resolve(
                    terrain, tasks, minutes, seed, config, overrides, port, pose
                ).config
                if dry_run:
                    raise typer.Exit(_dry_run(resolved, stop, as_json))
                from walkhome.robot.storage.run_folder import RunFolder, check_creatable

                if run_dir is not None:
                    check_creatable(run_dir)
                plant = _make_plant(resolved, port, pose, stack)
                folder = RunFolder.create(run_dir, resolved)
        summary = _learn(folder, stop, resume is not None, as_json, plant)
        _tell_summary(folder.path, summary, as_json)
    raise typer.Exit(_EXIT_OF.get(str(summary.get("status")), EXIT_FAILED))


def _make_plant(
    config: Any, port: str | None, pose: str | None, stack: contextlib.ExitStack
) -> Any:
    """The board, after all checks; None for the twin. Nothing is written yet."""
    require_device(config.learning.device)
    port = port or config.board.port
    if port is None:
        if pose is not None:
            fail("--pose: the twin knows its pose; --pose is for --port only")
        require_twin()
        return None
    from walkhome.robot.board.session import open_plant

    with board_refusals():
        plant = open_plant(config, port, pose)
    stack.callback(plant.robot.close)
    return plant


def _dry_run(config: Any, stop: StopSignal, as_json: bool) -> int:
    if config.board.port is None:
        fail("--dry-run needs the board's --port")
    with board_refusals():
        from walkhome.robot.board.dry_run import dry_run, format_dry_run

        result = dry_run(config, config.board.port, stop)
    typer.echo(json.dumps(result) if as_json else format_dry_run(result))
    return 0 if result["ready"] else EXIT_SAFETY


def _open_to_resume(path: Path, minutes: float | None) -> Any:
    from walkhome.robot.storage.run_folder import RunFolder

    if minutes is not None and not 0.0 < minutes <= 100_000.0:
        fail("--minutes: write a number above 0")
    folder = RunFolder.resume(path, minutes)
    summary = folder.summary() or {}
    total = float(summary.get("robot_minutes", {}).get("total", 0.0))
    if summary.get("status") == "done" and total >= folder.config.run.minutes:
        folder.close()
        fail(
            f"{path}: its {folder.config.run.minutes:g} robot minutes are done; "
            "give it more with --minutes"
        )
    return folder


def _learn(
    folder: Any, stop: StopSignal, resume: bool, as_json: bool, plant: Any
) -> dict[str, Any]:
    from walkhome.learning.remote.process import LearnerLost
    from walkhome.robot.monitor.view import make_view

    on_board = {} if plant is None else {"plant": plant}

    with failures(), folder:
        view = make_view(as_json=as_json)
        try:
            view.message(f"run folder: {folder.path}")
            from walkhome.robot.training.train import learn as run_loop

            return run_loop(folder.config, folder, view, stop, resume=resume, **on_board)
        except KeyboardInterrupt:
            raise _Cut(folder.path, None if plant is None else plant.robot.port) from None
        except LearnerLost as error:
            resume_with = f"robot learn --resume {shlex.quote(str(folder.path))}"
            raise LearnerLost(f"{error}; resume with: {resume_with}") from error
        finally:
            view.close()


class _Cut(SystemExit):
    """Exit after the second signal, which stopped the run at once."""

    def __init__(self, path: Path, port: str | None = None) -> None:
        super().__init__(EXIT_INTERRUPTED)
        if port is not None:
            print_release_hint(port)
        typer.echo(f"cut; resume with: robot learn --resume {shlex.quote(str(path))}", err=True)


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
        print_table(summary.get("tasks", {}))
        name = shlex.quote(str(path))
        if summary.get("status") != "done":
            typer.echo(f"resume with: robot learn --resume {name}")
        typer.echo(f"next: robot eval {name}    robot report {name}")

# SPDX-License-Identifier: MIT
"""`robot learn`: a new run, or one to go on with."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from robot.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SAFETY,
    ConfigOption,
    JsonOption,
    MinutesOption,
    SeedOption,
    SetOption,
    StopRequest,
    TasksOption,
    TerrainOption,
    bad_input,
    fail,
    failures,
    print_table,
    require_twin,
    resolve,
)

# What a run's status means to a script.
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
        with bad_input():
            if resume is not None:
                if any(o is not None for o in (terrain, tasks, seed, config, overrides, run_dir)):
                    fail("--resume takes everything from the run; only --minutes and --json go")
                require_twin()
                folder = _open_to_resume(resume, minutes)
            else:
                resolved = resolve(terrain, tasks, minutes, seed, config, overrides)
                if run_dir is not None:
                    from robot.run import check_creatable

                    check_creatable(run_dir)
                require_twin()
                from robot.run import RunFolder

                folder = RunFolder.create(run_dir, resolved.config)
        summary = _learn(folder, stop, resume is not None, as_json)
        _tell_summary(folder.path, summary, as_json)
    raise typer.Exit(_EXIT_OF.get(str(summary.get("status")), EXIT_FAILED))


def _open_to_resume(path: Path, minutes: float | None) -> Any:
    from robot.run import RunFolder

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


def _learn(folder: Any, stop: StopRequest, resume: bool, as_json: bool) -> dict[str, Any]:
    from learning.process import LearnerLost
    from robot.view import make_view

    with failures(), folder:
        view = make_view(as_json=as_json)
        try:
            view.message(f"run folder: {folder.path}")
            from robot.loop import learn as run_loop

            return run_loop(folder.config, folder, view, stop, resume=resume)
        except KeyboardInterrupt:
            raise _Cut(folder.path) from None
        except LearnerLost as error:
            resume_with = f"robot learn --resume {shlex.quote(str(folder.path))}"
            raise LearnerLost(f"{error}; resume with: {resume_with}") from error
        finally:
            view.close()


class _Cut(SystemExit):
    """Stopped at once, by the second signal."""

    def __init__(self, path: Path) -> None:
        super().__init__(EXIT_INTERRUPTED)
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

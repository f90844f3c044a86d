# SPDX-License-Identifier: MIT
"""`robot ablate`: run a study of variants and seeds, and write its statistics and page."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from walkhome.robot.cli.common import MinutesOption, SetOption
from walkhome.robot.cli.errors import bad_input, fail, failures
from walkhome.robot.cli.requirements import require_device, require_twin
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED


def ablate(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Name of a shipped study, path of a YAML file, or `list` to list the studies.",
        ),
    ],
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Runs per variant; default: the study's (5 unless it says otherwise).",
        ),
    ] = None,
    minutes: MinutesOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Runs at the same time; default: one per core."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the study; default: runs/ablations/STUDY."),
    ] = None,
    overrides: SetOption = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Run on this machine or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of the Ray cluster; default: start Ray on this machine.",
        ),
    ] = None,
    claims: Annotated[
        bool,
        typer.Option(
            "--claims/--no-claims", help="Compare variants statistically; needs at least two seeds."
        ),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs and their estimated duration.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the results into this Markdown file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines for programs.")] = False,
) -> None:
    """Compare variants of the configuration over several seeds.

    Finished runs are kept. Ctrl-C stops the others at their last checkpoint; the same command
    continues them.
    """
    with StopSignal() as stop, bad_input():
        if study == "list":
            _list()
            raise typer.Exit
        _check_engine(engine, address, minutes)
        folder = _folder(study, seeds, minutes, out, overrides or [], claims)
        at_once = _at_once(jobs)
        left = [job for job in folder.jobs if not folder.finished(job)]
        if dry_run:
            _show_plan(folder, left, at_once)
            raise typer.Exit
        require_twin()
        _require_report()
        if engine == "local":  # the nodes of a cluster have their own devices
            for device in {config.learning.device for config in folder.study.configs.values()}:
                require_device(device)
        if results is not None:
            from walkhome.robot.ablation.publish import check_seeds, check_target

            check_seeds(folder.jobs)
            check_target(results)
        with _engine(engine, address, jobs) as runner, folder, failures():
            code = _run(folder, left, at_once, runner, stop, as_json)
            _finish(folder, code, results, as_json)
    raise typer.Exit(code)


def _list() -> None:
    from walkhome.robot.ablation.study import load_study, shipped

    for name in shipped():
        study = load_study(name)
        runs = len(study.configs) * study.file.seeds
        typer.echo(f"{name}: {study.file.question}")
        typer.echo(f"    {', '.join(study.configs)}")
        typer.echo(
            f"    {study.file.seeds} seeds, {study.file.minutes:g} robot minutes: {runs} runs"
        )


def _check_engine(engine: str, address: str | None, minutes: float | None) -> None:
    from walkhome.robot.config.messages import nearest

    if minutes is not None and not 0.0 < minutes <= 100_000.0:
        fail("--minutes: write a number above 0")
    if engine not in ("local", "ray"):
        near = nearest(engine, ("local", "ray"))
        hint = f"; did you mean {near!r}?" if near else ""
        fail(f"--engine: {engine!r} is not known; use local or ray{hint}")
    if address is not None and engine != "ray":
        fail("--address is for a Ray cluster: add --engine ray")


def _folder(
    name: str,
    seeds: int | None,
    minutes: float | None,
    out: Path | None,
    overrides: list[str],
    claims: bool,
) -> Any:
    """The folder of the study, after all checks; nothing is written yet."""
    from walkhome.robot.ablation.folder import StudyFolder
    from walkhome.robot.ablation.study import load_study

    study = load_study(name, seeds, minutes, overrides, claims)
    folder = StudyFolder(Path("runs/ablations") / study.name if out is None else out, study)
    folder.check()
    return folder


def _at_once(jobs: int | None) -> int:
    from walkhome.robot.ablation.engine import available_cores

    return available_cores() if jobs is None else jobs


@contextlib.contextmanager
def _engine(name: str, address: str | None, jobs: int | None) -> Iterator[Any]:
    """The started engine; exits with code 2 and one line if it can't start."""
    from walkhome.robot.ablation.engine import EngineError, LocalEngine

    with contextlib.ExitStack() as stack:
        try:
            if name == "local":
                engine: Any = LocalEngine(_at_once(jobs))
            else:
                from walkhome.robot.ablation.ray_engine import RayEngine

                engine = RayEngine(address, jobs)
            stack.enter_context(engine)
        except EngineError as error:
            fail(str(error))
        yield engine


def _show_plan(folder: Any, left: list[Any], at_once: int) -> None:
    from walkhome.robot.ablation.progress import estimated_wall_s
    from walkhome.robot.monitor.status import format_duration

    for job in folder.jobs:
        state = "to do" if job in left else "finished"
        typer.echo(f"{job.name:32} {job.config.run.minutes:g} robot minutes  {state}")
    wall = format_duration(estimated_wall_s(folder, left, at_once))
    typer.echo(f"{len(left)} of {len(folder.jobs)} runs to do, {at_once} at once: about {wall}")


def _require_report() -> None:
    try:
        import walkhome.robot.ablation.page  # noqa: F401
    except ImportError as error:
        if error.name not in ("matplotlib", "jinja2"):
            raise
        fail(f'the study\'s page needs {error.name}: pip install "walkhome[report]"')


def _run(
    folder: Any, left: list[Any], at_once: int, engine: Any, stop: StopSignal, as_json: bool
) -> int:
    from walkhome.robot.ablation.progress import ProgressView, estimated_wall_s
    from walkhome.robot.monitor.status import format_duration

    if left and not as_json:
        wall = format_duration(estimated_wall_s(folder, left, at_once))
        typer.echo(f"{folder.path}: {len(left)} of {len(folder.jobs)} runs to do, about {wall}")
    folder.forget_failures()
    # The second signal raises KeyboardInterrupt; the engine has ended its processes by then.
    with ProgressView(folder, left, as_json) as view, contextlib.suppress(KeyboardInterrupt):
        if left:
            engine.run(folder, left, stop, view)
    if stop.requested:
        return EXIT_INTERRUPTED
    return 0 if all(folder.finished(job) for job in left) else EXIT_FAILED


def _finish(folder: Any, code: int, results: Path | None, as_json: bool) -> None:
    from walkhome.robot.ablation.conclusion import conclude
    from walkhome.robot.ablation.page import write_page

    page, found = write_page(folder)
    if results is not None and code != EXIT_INTERRUPTED:
        from walkhome.robot.ablation.publish import publish

        publish(found, folder, results)
    if as_json:
        typer.echo(
            json.dumps(
                {"event": "summary", "exit_code": code, "page": str(page), **found.to_plain_json()}
            )
        )
        return
    for run in found.runs:
        if run.state == "failed":
            typer.echo(f"failed: {run.job.name}: {run.why}", err=True)
    done = sum(run.has_metrics for run in found.runs)
    typer.echo(f"{done} of {len(found.runs)} runs have a result")
    typer.echo(conclude(found))
    typer.echo(page)
    if code == EXIT_INTERRUPTED:
        again = shlex.join(["robot", *sys.argv[1:]])
        typer.echo(f"stopped; go on with the same command: {again}", err=True)

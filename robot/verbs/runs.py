# SPDX-License-Identifier: MIT
"""The verbs that look at what a run has left: eval, report, export."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from robot.command_line import (
    JsonOption,
    RunArgument,
    TerrainOption,
    bad_input,
    fail,
    failures,
    print_table,
    require_twin,
)


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
    with bad_input():
        if math.isnan(seconds):  # passes every range check
            fail("--seconds: write a number")
        from robot.run import RunFolder

        RunFolder.open(run)
        require_twin()
        from learning.policy import PolicyInvalid
        from robot.evaluate import evaluate as measure

        with failures():
            try:
                result = measure(run, terrain, episodes, seconds, film=terrain is None)
            except PolicyInvalid as error:
                fail(str(error))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        print_table(result.get("tasks", {}))


def report(run: RunArgument) -> None:
    """Write RUN/report/report.html: learning curves, workspace map, falls, multipliers."""
    with bad_input():
        from robot.run import RunFolder

        folder = RunFolder.open(run)
        try:
            from robot.report import write_report
        except ImportError as error:
            if error.name not in ("matplotlib", "jinja2"):
                raise
            fail(f'the report needs {error.name}: pip install "walkhome[report]"')
        with failures():
            path = write_report(folder)
    typer.echo(path)


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
    with bad_input():
        if format_ != "parquet":
            fail(f"--format: {format_!r} is not known; use parquet")
        from robot.export import export as write
        from robot.run import RunFolder

        with failures():
            try:
                path = write(RunFolder.open(run), run / "export" if out is None else out)
            except ImportError as error:
                if error.name not in ("pyarrow", "pandas"):
                    raise
                fail(f'the export needs {error.name}: pip install "walkhome[export]"')
    typer.echo(path)

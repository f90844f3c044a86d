# SPDX-License-Identifier: MIT
"""The verbs that write a run's results as files: report (HTML), export (Parquet)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from walkhome.robot.cli.common import RunArgument
from walkhome.robot.cli.errors import bad_input, fail, failures


def report(run: RunArgument) -> None:
    """Write a report of a run to RUN/report/report.html.

    It shows learning curves, the workspace map, falls and multipliers.
    """
    with bad_input():
        from walkhome.robot.storage.run_folder import RunFolder

        folder = RunFolder.open(run)
        try:
            from walkhome.robot.report.page import write_report
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
        Path | None,
        typer.Option(metavar="FOLDER", help="New folder to write to; default: RUN/export."),
    ] = None,
    format_: Annotated[
        str,
        typer.Option("--format", metavar="parquet", help="File format; parquet is the only one."),
    ] = "parquet",
) -> None:
    """Export a run's steps as Parquet files in the layout of LeRobotDataset v3.0."""
    with bad_input():
        if format_ != "parquet":
            fail(f"--format: {format_!r} is not known; use parquet")
        from walkhome.robot.storage.lerobot_export import export as write
        from walkhome.robot.storage.run_folder import RunFolder

        with failures():
            try:
                path = write(RunFolder.open(run), run / "export" if out is None else out)
            except ImportError as error:
                if error.name not in ("pyarrow", "pandas"):
                    raise
                fail(f'the export needs {error.name}: pip install "walkhome[export]"')
    typer.echo(path)

# SPDX-License-Identifier: MIT
"""Terminal output that several verbs share: tables, a progress bar, hints after a stop."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import typer

from walkhome.robot.exit_codes import EXIT_INTERRUPTED


def print_table(tasks: dict[str, dict[str, Any]]) -> None:
    """Print one row per task; the columns are the first task's numbers and strings."""
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


@contextlib.contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[str, float], None] | None]:
    """Show a progress bar on standard error.

    Args:
        quiet: show nothing.

    Yields:
        A function that takes a description and the share done, 0 to 1; None if `quiet` or if
        standard error is not a terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(text: str, share: float) -> None:
            bar.update(task, description=text, completed=share)

        yield show


def exit_after_cut(port: str | None) -> NoReturn:
    """Exit with code 130 after the second signal, which cut the torque.

    Args:
        port: the board's serial port, to print how to release its latched stop; None for the twin.

    Raises:
        SystemExit: always, with code 130.
    """
    if port is not None:
        print_release_hint(port)
    raise SystemExit(EXIT_INTERRUPTED)


def print_release_hint(port: str) -> None:
    """Print how to release the emergency stop that a cut leaves latched on the board at `port`."""
    typer.echo(
        f"the board's stop is latched: robot doctor --port {shlex.quote(port)} --release", err=True
    )

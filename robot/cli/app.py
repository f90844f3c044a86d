# SPDX-License-Identifier: MIT
"""The commands `walkhome` and `robot` with all their verbs.

Each verb imports what it needs when it runs, so that `robot --help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from walkhome.robot.cli.command_name import note_on_command
from walkhome.robot.cli.common import help_without_command
from walkhome.robot.cli.errors import OneLineErrors
from walkhome.robot.cli.verbs import (
    ablate,
    board,
    estop,
    hardware,
    learn,
    runs,
    settings,
    teleop,
    watch,
)

app = typer.Typer(
    cls=OneLineErrors,
    help="A four-legged robot learns to walk by itself. `walkhome` and `robot` are the same.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Show the configuration.", rich_markup_mode=None)

app.command()(learn.learn)
app.command("eval")(watch.evaluate)
app.command()(runs.report)
app.command()(runs.export)
app.command()(watch.replay)
app.command()(teleop.teleop)
app.command()(hardware.doctor)
app.command()(hardware.calibrate)
app.command("stand-up")(hardware.stand_up)
app.command()(board.emulate)
app.command()(ablate.ablate)
app.command()(estop.estop)
app.add_typer(config_app, name="config")
config_app.command("show")(settings.config_show)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"walkhome {installed('walkhome')}")
        raise typer.Exit
    help_without_command(context)


@config_app.callback(invoke_without_command=True)
def _config_root(context: typer.Context) -> None:
    help_without_command(context)


def main() -> None:
    """Entry point of the commands `walkhome` and `robot`."""
    note = note_on_command(sys.argv[0])
    if note:
        typer.echo(note, err=True)
    app()

# SPDX-License-Identifier: MIT
"""Options and arguments that several verbs share, and the configuration that they give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from walkhome.robot.exit_codes import EXIT_USAGE

if TYPE_CHECKING:
    from walkhome.robot.config.resolve import Resolved

TerrainOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="Ground: flat, mattress, doormat, or the path of a YAML file."
    ),
]
TasksOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Tasks to learn, separated by commas: forward, backward, left, right.",
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(help="Robot minutes to learn for, including standing up and waiting."),
]
SeedOption = Annotated[int | None, typer.Option(help="Random seed.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML file with settings that differ from the defaults."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any configuration key, e.g. learning.batch_size=128. Repeatable.",
    ),
]
PortOption = Annotated[
    str | None,
    typer.Option(
        metavar="PORT", help="Serial port of the robot's board; `robot doctor` lists them."
    ),
]
PoseOption = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Source of the robot's pose: auto, unix:PATH, odometry, ... (docs/first-hour.md).",
    ),
]
BoardSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="With --port: set a key of the section `board`. Repeatable.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs; no live view.")]


def resolve(
    terrain: str | None = None,
    tasks: str | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    config: Path | None = None,
    overrides: list[str] | None = None,
    port: str | None = None,
    pose: str | None = None,
) -> Resolved:
    """Resolve the shared options into a configuration.

    Raises:
        ConfigError: a value can't be used (see `robot.config.resolve.resolve_config`).
    """
    from walkhome.robot.config.resolve import resolve_config

    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    flags = {"terrain": terrain, "tasks": names, "run.minutes": minutes, "run.seed": seed}
    flags |= {"board.port": port, "board.pose": pose}
    return resolve_config(config, flags=flags, overrides=overrides or ())


def help_without_command(context: typer.Context) -> None:
    """Print the help and exit with code 2 if no verb is given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)

# SPDX-License-Identifier: MIT
"""`robot config show`: print the resolved configuration."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from walkhome.robot.cli.common import (
    ConfigOption,
    MinutesOption,
    SeedOption,
    SetOption,
    TasksOption,
    TerrainOption,
    resolve,
)
from walkhome.robot.cli.errors import bad_input


def config_show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Also print where each value comes from.")
    ] = False,
    terrain: TerrainOption = None,
    tasks: TasksOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Print the configuration that `robot learn` would use with the same options."""
    with bad_input():
        from walkhome.robot.config.resolve import config_to_yaml

        resolved = resolve(terrain, tasks, minutes, seed, config, overrides)
    if not origin:
        typer.echo(config_to_yaml(resolved.config), nl=False)
        return
    rows = [(key, json.dumps(value), where) for key, value, where in resolved.rows()]
    key_width, value_width = (max(len(row[i]) for row in rows) for i in (0, 1))
    for key, value, where in rows:
        typer.echo(f"{key:{key_width}}  {value:{value_width}}  {where}")

# SPDX-License-Identifier: MIT
"""The verbs that show what a run has learned: eval, replay."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from walkhome.robot.cli.common import BoardSetOption, JsonOption, PortOption, RunArgument
from walkhome.robot.cli.errors import bad_input, board_refusals, fail, failures, film_failures
from walkhome.robot.cli.output import exit_after_cut, print_table, progress_bar
from walkhome.robot.cli.requirements import (
    check_video,
    require_display,
    require_twin,
    require_video,
)
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.exit_codes import EXIT_INTERRUPTED, EXIT_SAFETY

if TYPE_CHECKING:
    from walkhome.robot.storage.run_folder import RunFolder

# Columns of the printed table; the JSON has all metrics.
_SHOWN = (
    "speed_m_s",
    "turn_rate_rad_s",
    "drift_m",
    "power_w",
    "cost_of_transport",
)


def evaluate(
    run: RunArgument,
    as_json: JsonOption = False,
    episodes: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of roll-outs per task.")
    ] = 5,
    terrain: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES|FILE",
            help="Terrains to measure on, separated by commas; default: the run's own.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=3600.0, help="Length of a roll-out, s.")
    ] = 10.0,
    push: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=50.0,
            metavar="N_S",
            help="Push the trunk with this impulse, N s, every 1.5 to 3 s.",
        ),
    ] = 0.0,
    video: Annotated[
        bool, typer.Option("--video", help="Film each task into RUN/report/<task>.mp4.")
    ] = False,
) -> None:
    """Measure the learned gaits in deterministic roll-outs in the twin."""
    with bad_input():
        for name, value in (("--seconds", seconds), ("--push", push)):
            if math.isnan(value):  # passes every range check
                fail(f"{name}: write a number")
        from walkhome.robot.storage.run_folder import RunFolder

        RunFolder.open(run)
        require_twin()
        if video:
            require_video()
        from walkhome.learning.policy import PolicyInvalid
        from walkhome.robot.evaluation.evaluate import EvaluationPlan
        from walkhome.robot.evaluation.evaluate import evaluate as measure

        terrains = [] if terrain is None else [name.strip() for name in terrain.split(",")]
        plan = EvaluationPlan(
            terrains, episodes, seconds, push, film=terrain is None and not push, video=video
        )
        with failures(), film_failures(), progress_bar(as_json) as progress:
            try:
                result = measure(run, plan, progress)
            except PolicyInvalid as error:
                fail(str(error))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)


def replay(
    run: RunArgument,
    episode: Annotated[
        int,
        typer.Option(
            "--episode", metavar="N", help="Number of the episode, from 1; -1 is the last."
        ),
    ] = -1,
    speed: Annotated[
        float, typer.Option(min=0.05, max=20.0, help="Playback speed; 1 is real time.")
    ] = 1.0,
    video: Annotated[
        Path | None,
        typer.Option("--video", metavar="FILE", help="Write a film to this .mp4 file instead."),
    ] = None,
    with_stand_up: Annotated[
        bool, typer.Option("--with-stand-up", help="Start with the stand-up before the episode.")
    ] = False,
    port: PortOption = None,
    on_robot: Annotated[
        bool,
        typer.Option(
            "--on-robot",
            help="Replay the actions on the robot at --port, without any pose control.",
        ),
    ] = False,
    overrides: BoardSetOption = None,
) -> None:
    """Replay a recorded episode in a window, or as a film with --video.

    With --port and --on-robot, a real robot stands up, moves to the episode's first posture and
    executes the recorded actions, through the filter and the limits. It does not correct its path:
    keep the floor clear.
    """
    with StopSignal() as stop, bad_input():
        if math.isnan(speed):  # passes every range check
            fail("--speed: write a number")
        if port is not None or on_robot:
            drawn = {"speed": speed != 1.0, "video": video, "with-stand-up": with_stand_up}
            _refuse_hardware(port, on_robot, drawn)
        elif overrides:
            fail("--set: a replay uses the run's own settings; --set is for --port only")
        check_video(video)
        from walkhome.robot.storage.run_folder import RunFolder

        folder = RunFolder.open(run)
        if port is not None:
            raise typer.Exit(_on_robot(folder, episode, port, overrides or (), stop))
        require_twin()
        require_video()
        from walkhome.robot.storage.recorded_episodes import find_episode
        from walkhome.robot.video.replay import film_episode, show_episode

        chosen = find_episode(folder, episode, with_stand_up)
        with failures(), film_failures():
            if video is not None:
                with progress_bar(quiet=False) as progress:
                    film_episode(
                        chosen, folder.config, video, speed, progress, lambda: stop.requested
                    )
            else:
                require_display("give --video FILE.mp4")
                show_episode(chosen, folder.config, speed, lambda: stop.requested)
        if stop.requested:
            raise typer.Exit(EXIT_INTERRUPTED)
        if video is not None:
            typer.echo(video)


def _refuse_hardware(port: str | None, on_robot: bool, drawn: Mapping[str, object]) -> None:
    if port is None:
        fail("--on-robot needs the robot's --port too")
    if not on_robot:
        fail("--port: this moves the robot without pose control; confirm with --on-robot")
    for name, given in drawn.items():
        if given:
            fail(f"--{name} is for the display; leave it out with --on-robot")


def _on_robot(
    folder: RunFolder, episode: int, port: str, overrides: Sequence[str], stop: StopSignal
) -> int:
    from walkhome.robot.board.replay import actions_of, replay_on_robot
    from walkhome.robot.board.session import config_on_port
    from walkhome.robot.storage.recorded_episodes import find_episode

    config = config_on_port(folder.path, port, overrides)
    chosen = find_episode(folder, episode)
    commands = actions_of(chosen)
    typer.echo(
        f"episode {chosen.number}: {chosen.task}, {len(commands.actions) * chosen.period_s:.1f} s, "
        f"ended by {chosen.ended}"
    )
    with board_refusals():
        try:
            whole = replay_on_robot(config, port, commands, lambda: stop.requested, typer.echo)
        except KeyboardInterrupt:
            exit_after_cut(port)
    if stop.requested:
        return EXIT_INTERRUPTED
    return 0 if whole else EXIT_SAFETY


def _print(result: dict[str, Any]) -> None:
    tables = result.get("terrains") or {result.get("terrain", ""): result.get("tasks", {})}
    for terrain, tasks in tables.items():
        if len(tables) > 1:
            note = " (learned here)" if terrain == result.get("learned_on") else ""
            typer.echo(f"{terrain}{note}")
        print_table({name: _row(task) for name, task in tasks.items()})
    if any("interval95" in task for tasks in tables.values() for task in tasks.values()):
        typer.echo("mean over the episodes with its 95 % interval; --json prints all metrics")
    for path in result.get("videos", ()):
        typer.echo(path)


def _row(task: dict[str, Any]) -> dict[str, Any]:
    row = {key: task[key] for key in ("episodes", "falls", "exits") if key in task}
    intervals = task.get("interval95", {})
    return row | {
        key: _with_interval(task[key], intervals.get(key)) for key in _SHOWN if key in task
    }


def _with_interval(mean: float | None, interval: list[float] | None) -> str:
    if mean is None:
        return "-"
    if interval is None:
        return f"{mean:.3f}"
    return f"{mean:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

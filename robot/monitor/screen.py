# SPDX-License-Identifier: MIT
"""Renders a status for the live screen with rich's tables; pure functions.

The map shows the workspace from above in the world frame: x, the robot's initial heading, points up
and y points left. A character is about twice as high as wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from walkhome.robot.monitor.status import RunStatus, format_duration

MAP_ROWS = 15
_MARGIN = 1.15  # size of the map relative to the workspace, so that exits are visible
# Eight headings, counter-clockwise from the initial one, which points up.
_ARROWS = "↑↖←↙↓↘→↗"
_ARROWS_ASCII = "^\\</v\\>/"


def screen(
    status: RunStatus, trail: Iterable[tuple[float, float]], console: Console
) -> RenderableType:
    """Lay out progress, tasks, counts and map; fits 80 x 24 characters.

    Args:
        status: status to show.
        trail: earlier positions x, y (m) of the robot, world frame.
        console: its width and encoding determine the layout; a wide one gets a larger map.
    """
    ascii_only = console.options.ascii_only
    wide = console.width >= 104
    picture = _map(status, trail, MAP_ROWS if wide else MAP_ROWS // 2, ascii_only)
    grid = Table.grid(padding=(0, 3))
    if wide:
        figures = Group(_progress(status), _tasks(status, ascii_only), _counts(status))
        grid.add_row(figures, picture)
        return grid
    grid.add_row(_counts(status), picture)
    return Group(_progress(status), _tasks(status, ascii_only), grid)


def workspace_map(
    status: RunStatus,
    trail: Iterable[tuple[float, float]] = (),
    *,
    rows: int = MAP_ROWS,
    ascii_only: bool = False,
) -> list[str]:
    """Draw the map of the workspace in characters.

    Args:
        status: gives the robot's pose and the workspace's size.
        trail: earlier positions x, y (m) of the robot, world frame.
        rows: height of the map in characters.
        ascii_only: use no box-drawing characters or arrows.

    Returns:
        `rows` strings of equal length, top row first.
    """
    half_x, half_y = status.half_length_m * _MARGIN, status.half_width_m * _MARGIN
    columns = min(60, max(9, round(2 * rows * half_y / half_x)))
    canvas = [[" "] * columns for _ in range(rows)]

    def cell(x_m: float, y_m: float) -> tuple[int, int]:
        row = round((half_x - x_m) / (2 * half_x) * (rows - 1))
        column = round((half_y - y_m) / (2 * half_y) * (columns - 1))
        return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)

    top, left = cell(status.half_length_m, status.half_width_m)
    bottom, right = cell(-status.half_length_m, -status.half_width_m)
    _box(canvas, top, left, bottom, right, "+-+|++" if ascii_only else "┌─┐│└┘")
    for x_m, y_m in trail:
        row, column = cell(x_m, y_m)
        if canvas[row][column] == " ":
            canvas[row][column] = "." if ascii_only else "·"
    row, column = cell(0.0, 0.0)
    canvas[row][column] = "+"
    x_m, y_m, yaw_rad = status.pose
    if all(math.isfinite(value) for value in status.pose):
        row, column = cell(x_m, y_m)
        arrows = _ARROWS_ASCII if ascii_only else _ARROWS
        canvas[row][column] = arrows[round(yaw_rad / (math.pi / 4)) % 8]
    return ["".join(line) for line in canvas]


def _box(
    canvas: list[list[str]], top: int, left: int, bottom: int, right: int, marks: Sequence[str]
) -> None:
    for column in range(left, right + 1):
        canvas[top][column] = canvas[bottom][column] = marks[1]
    for row in range(top, bottom + 1):
        canvas[row][left] = canvas[row][right] = marks[3]
    canvas[top][left], canvas[top][right] = marks[0], marks[2]
    canvas[bottom][left], canvas[bottom][right] = marks[4], marks[5]


def _map(
    status: RunStatus, trail: Iterable[tuple[float, float]], rows: int, ascii_only: bool
) -> RenderableType:
    lines = workspace_map(status, trail, rows=rows, ascii_only=ascii_only)
    text = Text("\n".join(lines), style="dim")
    arrows = _ARROWS_ASCII if ascii_only else _ARROWS
    x_m, y_m, _ = status.pose
    if not ascii_only:  # in ASCII, arrows and border share characters
        text.highlight_regex(f"[{arrows}]", "bold not dim green")
    caption = Text(
        f"{2 * status.half_length_m:g} x {2 * status.half_width_m:g} m\n"
        f"robot {x_m:+.1f}, {y_m:+.1f}",
        style="dim",
    )
    return Group(text, caption)


def _progress(status: RunStatus) -> RenderableType:
    total, budget = status.robot_minutes_total, status.minutes_budget
    left = (budget - total) / total * status.wall_s if total > 0.05 else None
    rate = total * 60.0 / status.wall_s if status.wall_s > 1.0 else None
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(f"{total:.2f} of {budget:g} robot minutes", style="bold"),
        ProgressBar(total=budget, completed=min(total, budget), width=30),
        Text(f"{min(1.0, total / budget):.0%}"),
    )
    wall = f"wall {format_duration(status.wall_s)}"
    if rate is not None:
        wall += f" ({rate:.1f}x real time)"
    if left is not None and total < budget:
        wall += f", about {format_duration(left)} left"
    doing = f"{status.phase}: {status.task}" if status.phase == "episode" else status.phase
    return Group(head, Text(wall, style="dim"), Text.assemble("now ", (doing, "bold green")))


def _tasks(status: RunStatus, ascii_only: bool) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("task")
    greek = ("alpha", "lambdas") if ascii_only else ("α", "λ pitch, roll")
    for name in ("m/s", "rad/s", "episodes", "falls", "exits", *greek):
        table.add_column(name, justify="right")
    for name, task in status.tasks.items():
        acting = name == status.task and status.phase == "episode"
        table.add_row(
            name,
            f"{task.speed_m_s:+.3f}",
            f"{task.turn_rate_rad_s:+.2f}",
            str(task.episodes),
            str(task.falls),
            str(task.workspace_exits),
            f"{task.alpha:.3f}",
            ", ".join(f"{value:.2f}" for value in task.lambdas),
            style="bold green" if acting else None,
        )
    return table


def _counts(status: RunStatus) -> RenderableType:
    grid = Table.grid(padding=(0, 3))
    grid.add_row("falls", str(status.falls), "moving", f"{status.robot_minutes_moving:.2f} min")
    grid.add_row(
        "workspace exits",
        str(status.exits),
        "standing up",
        f"{status.robot_minutes_standing_up:.2f} min",
    )
    failed = f" ({status.stand_ups_failed} failed)" if status.stand_ups_failed else ""
    grid.add_row(
        "stand-ups",
        f"{status.stand_ups_tried}{failed}",
        "waiting",
        f"{status.robot_minutes_waiting:.2f} min",
    )
    grid.add_row("human resets", str(status.human_resets), "steps", str(status.steps))
    keeps_up = ("", "")
    if status.learner is not None:
        keeps_up = ("weights behind", f"{status.learner.behind_s:.1f} s")
    grid.add_row(*keeps_up, "updates", str(status.gradient_steps))
    board = status.board
    if board is not None:
        late = f"{board.late_p99_ms:.1f} ms, {board.late_max_ms:.1f}"
        grid.add_row("late p99, max", late, "rate", f"{board.rate_hz:.1f} Hz")
        age = f"{board.telemetry_age_ms:.1f} ms, {board.lost_frames} lost"
        grid.add_row("telemetry age", age, "skipped", str(board.skipped_periods))
        grid.add_row("links lost", str(board.link_losses), "cuts", str(board.supervisor_cuts))
        if board.budgets:
            grid.add_row("faults", board.used_budgets())
    return grid

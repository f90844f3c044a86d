# SPDX-License-Identifier: MIT
"""Writes the report of a run: one self-contained HTML file, and its figures as PNG files.

    run folder  ->  `RunData`  ->  figures (`FIGURES`)  ->  report/report.html, report/*.png

The page embeds its figures and loads no other file, so it can be mailed or printed. Pictures of
`robot eval` in report/frames are shown as film strips.
"""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from walkhome.robot.config.resolve import config_to_yaml
from walkhome.robot.monitor.status import format_duration
from walkhome.robot.report.figures import FIGURES
from walkhome.robot.report.gait_figures import gait_rows
from walkhome.robot.report.run_data import RunData
from walkhome.robot.report.style import STYLE
from walkhome.robot.storage.run_folder import RunFolder

FRAMES_SHOWN = 8
PNG_DPI = 150


@dataclass(frozen=True)
class FigureOnPage:
    """A figure as the template shows it.

    Attributes:
        name: id of the figure, also the name of its PNG file.
        title: heading above the figure.
        caption: text below the figure.
        source: the figure itself, as a data URI.
    """

    name: str
    title: str
    caption: str
    source: str


def write_report(run: RunFolder) -> Path:
    """Write report/report.html and report/*.png into a run folder.

    Returns:
        The path of the page.

    Raises:
        RunError: a file of the run is damaged.
        OSError: the report cannot be written.
    """
    data = RunData.read(run)
    folder = run.path / "report"
    folder.mkdir(exist_ok=True)
    figures = []
    with mpl.rc_context(STYLE):
        for name, (title, draw, caption) in FIGURES.items():
            figure = draw(data)
            if figure is None:
                (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier report
                continue
            figure.savefig(folder / f"{name}.png", dpi=PNG_DPI)
            figure.set_layout_engine("none")  # keep the layout of the first drawing
            figures.append(FigureOnPage(name, title, caption, svg_uri(figure)))
    page = (
        environment()
        .get_template("report.html")
        .render(
            title=f"{data.summary.get('terrain')}, seed {data.summary.get('seed')}",
            run=run.path.name,
            notes=data.notes,
            headline=headline(data),
            tasks=_task_rows(data),
            figures=figures,
            gaits=gait_rows(data),
            strips={
                task: [_inline(path, "png") for path in paths]
                for task, paths in film_strips(folder / "frames").items()
                if _is_current(task, data, folder)
            },
            facts=_facts(data),
            config=config_to_yaml(data.config),
        )
    )
    target = folder / "report.html"
    draft = folder / f".report.html.{os.getpid()}.tmp"
    draft.write_text(page, encoding="utf-8")
    draft.replace(target)
    return target


def headline(data: RunData) -> list[tuple[str, str]]:
    """Return the rows of the summary table at the top of the page, as (name, value)."""
    summary = data.summary
    minutes = summary.get("robot_minutes") or {}
    stand_ups = summary.get("stand_ups") or {}
    parts = ", ".join(
        f"{_text(minutes.get(key), '.2f')} {key.replace('_', ' ')}"
        for key in ("moving", "standing_up", "waiting")
    )
    return [
        ("Status", _text(summary.get("status"))),
        ("Terrain", _text(summary.get("terrain"))),
        ("Seed", _text(summary.get("seed"))),
        ("Robot minutes", f"{_text(minutes.get('total'), '.2f')} ({parts})"),
        ("Falls", _text(summary.get("falls"))),
        ("Human resets", _text(summary.get("human_resets"))),
        ("Workspace exits", _text(summary.get("workspace_exits"))),
        (
            "Stand-ups",
            f"{_text(stand_ups.get('tried'))} tried, {_text(stand_ups.get('failed'))} failed",
        ),
        ("Control steps", _text(summary.get("steps"))),
        ("Gradient steps", _text(summary.get("gradient_steps"))),
        ("Wall time", _clock(summary.get("wall_seconds"))),
    ]


def _task_rows(data: RunData) -> list[list[str]]:
    rows = []
    for name, task in (data.summary.get("tasks") or {}).items():
        rows.append(
            [
                name,
                _text(task.get("speed_m_s"), "+.3f"),
                _text(task.get("turn_rate_rad_s"), "+.3f"),
                _text(task.get("episodes")),
                _text(task.get("steps")),
                _text(task.get("falls")),
                _text(task.get("workspace_exits")),
            ]
        )
    return rows


def _facts(data: RunData) -> list[tuple[str, str]]:
    made = data.provenance
    git = made.get("git") or {}
    commit = str(git.get("commit", "")) + (" with changes" if git.get("dirty") else "")
    versions = made.get("versions") or {}
    return [
        (name, value)
        for name, value in (
            ("Started", made.get("start_utc")),
            ("Command", " ".join(map(str, made.get("argv") or []))),
            ("Commit", commit),
            ("Python", made.get("python")),
            ("Platform", made.get("platform")),
            ("Processor", made.get("cpu")),
            ("Libraries", ", ".join(f"{k} {v}" for k, v in versions.items() if v)),
        )
        if value
    ]


def _text(value: Any, form: str = "") -> str:
    if value is None:
        return "unknown"
    return format(value, form) if isinstance(value, (int, float)) else str(value)


def _clock(seconds: Any) -> str:
    return format_duration(seconds) if isinstance(seconds, (int, float)) else "unknown"


def svg_uri(figure: Figure) -> str:
    """Encode a figure as an SVG data URI for the `src` of an <img>."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _data_uri(buffer.getvalue(), "svg+xml")


def _is_current(task: str, data: RunData, folder: Path) -> bool:
    """False if the strip shows an earlier policy: its gait record was left out for that reason."""
    return task in data.gaits or not (folder / "gait" / f"{task}.safetensors").is_file()


def film_strips(folder: Path) -> dict[str, list[Path]]:
    """Choose the pictures of the film strips.

    Args:
        folder: contains pictures named `<task>-<number>.png`.

    Returns:
        Per task up to `FRAMES_SHOWN` paths, evenly spread over its pictures, in order.
    """
    strips: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*-*.png")):
        strips.setdefault(path.stem.rpartition("-")[0], []).append(path)
    for task, frames in strips.items():
        shown = min(FRAMES_SHOWN, len(frames))
        picked = np.linspace(0, len(frames) - 1, shown).round().astype(int)
        strips[task] = [frames[index] for index in picked]
    return strips


def _inline(path: Path, kind: str) -> str:
    return _data_uri(path.read_bytes(), kind)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def environment() -> jinja2.Environment:
    """Return the Jinja environment with the templates of the report and ablation pages."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("walkhome.robot.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

# SPDX-License-Identifier: MIT
"""Reads a run folder for the report and for ablation metrics.

A run that was killed or is still running has no summary.json; the same figures are then computed
from its events and metrics.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.robot.config.schema import Config
from walkhome.robot.evaluation.gait_from_torque import board_gaits, first_board_episode
from walkhome.robot.evaluation.gait_record import GaitRecord, GaitRecordInvalid, load_gait
from walkhome.robot.storage.journal import (
    FLAG_START,
    PHASE_EPISODE,
    RECORD,
    JournalError,
    read_journal,
)
from walkhome.robot.storage.policies import policy_digest
from walkhome.robot.storage.run_folder import RunError, RunFolder
from walkhome.robot.training.statistics import SPEED_WINDOW

FloatArray = npt.NDArray[np.float64]

PHASES = ("moving", "standing_up", "waiting")


@dataclass(frozen=True)
class RunData:
    """Contents of one run folder.

    Attributes:
        path: the run folder.
        config: configuration of the run.
        provenance: contents of provenance.json; empty if the file is missing.
        summary: contents of summary.json, or the same figures computed from the events.
        episodes: episode events, in order.
        stand_ups: stand-up events, in order.
        metrics: lines of metrics.jsonl.
        records: journal records of the steps in episodes; empty if there is no journal.
        notes: warnings about the data that the report shows at its top.
        gaits: gait record per task: estimated from the journal if the run was on a board, else
            saved by `robot eval`; tasks without a record are left out.
    """

    path: Path
    config: Config
    provenance: dict[str, Any]
    summary: dict[str, Any]
    episodes: list[dict[str, Any]]
    stand_ups: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    records: npt.NDArray[Any]
    notes: list[str] = field(default_factory=list)
    gaits: dict[str, GaitRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, run: RunFolder) -> RunData:
        """Read a run folder.

        Raises:
            RunError: a file of the run is damaged.
        """
        events, metrics, notes = run.events(), run.metrics(), []
        episodes = [event for event in events if event.get("event") == "episode"]
        stand_ups = [event for event in events if event.get("event") == "stand_up"]
        records, note = _records(run)
        if note:
            notes.append(note)
        summary = run.summary()
        if summary is None:
            notes.append(
                "The run has no summary: it is still running, or was killed. The figures below are "
                "computed from its events so far."
            )
            summary = _summary_so_far(run.config, episodes, stand_ups, metrics)
        return cls(
            path=run.path,
            config=run.config,
            provenance=_provenance(run.path / "provenance.json"),
            summary=summary,
            episodes=episodes,
            stand_ups=stand_ups,
            metrics=metrics,
            records=records,
            notes=notes,
            gaits=_gaits(run, notes) | _gaits_on_board(events, records, run.config),
        )

    def of_task(self, task: str) -> list[dict[str, Any]]:
        """Return the episode events of one task, in order."""
        return [episode for episode in self.episodes if episode.get("task") == task]

    def record_minutes(self) -> FloatArray:
        """Return the times of the journal's records, (n,) robot minutes."""
        return np.asarray(self.records["robot_s"] / 60.0, dtype=np.float64)


def series(rows: Sequence[dict[str, Any]], key: str) -> FloatArray:
    """Return one number of every row as an (n,) array; NaN where it is missing or null."""
    return np.array([_number(row.get(key)) for row in rows], dtype=np.float64)


def task_progress(episode: dict[str, Any], task: str) -> float:
    """Return an episode's speed (m/s) or turn rate (rad/s) along its task; more is better."""
    if task == "left":
        return _number(episode.get("turn_rate_rad_s"))
    if task == "right":
        return -_number(episode.get("turn_rate_rad_s"))
    return _number(episode.get("speed_m_s"))


def running_mean(values: FloatArray, window: int) -> FloatArray:
    """Return the (n,) mean over a trailing window of `window` values.

    Values that are not finite are left out of the mean; it is NaN where the window holds none.
    """
    finite = np.isfinite(values)
    total = np.cumsum(np.where(finite, values, 0.0))
    count = np.cumsum(finite).astype(np.float64)
    total[window:] -= total[:-window].copy()
    count[window:] -= count[:-window].copy()
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _records(run: RunFolder) -> tuple[npt.NDArray[Any], str]:
    if not any(run.journal.glob("*.bin")):
        return np.zeros(0, RECORD), "There is no journal, so figures of single steps are missing."
    try:
        data = read_journal(run.journal)
    except JournalError as error:
        raise RunError(str(error)) from None
    note = f"{data.skipped_bytes} damaged bytes of the journal were left out."
    r = data.records
    steps = r[(r["phase"] == PHASE_EPISODE) & ((r["flags"] & FLAG_START) == 0)]
    return steps, note if data.skipped_bytes else ""


def _gaits(run: RunFolder, notes: list[str]) -> dict[str, GaitRecord]:
    found: dict[str, GaitRecord] = {}
    digest = policy_digest(run.path / "policy.safetensors")
    for task in run.config.tasks:
        path = run.path / "report" / "gait" / f"{task}.safetensors"
        if path.is_file():
            try:
                record, facts = load_gait(path)
            except GaitRecordInvalid as error:
                notes.append(f"No gait of {task}: {error}")
                continue
            if digest and facts.get("policy", digest) != digest:
                notes.append(
                    f"No gait of {task}: its record was made with an earlier policy; run `robot "
                    "eval` again"
                )
                continue
            found[task] = record
            if facts.get("ended") == "fall":
                notes.append(
                    f"{task}: every roll-out of the evaluation ended in a fall, so there is no "
                    "settled gait."
                )
    return found


def _gaits_on_board(
    events: list[dict[str, Any]], records: npt.NDArray[Any], config: Config
) -> dict[str, GaitRecord]:
    first = first_board_episode(events)
    return {} if first is None else board_gaits(records, config, first)


def _provenance(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError(f"{path}: not JSON; the file is damaged") from None
    return value if isinstance(value, dict) else {}


def _summary_so_far(
    config: Config,
    episodes: list[dict[str, Any]],
    stand_ups: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
) -> dict[str, Any]:
    newest = metrics[-1] if metrics else {}
    minutes = {phase: _number(newest.get(f"{phase}_s", 0.0)) / 60.0 for phase in PHASES}
    tasks = {}
    for task in config.tasks:
        own = [episode for episode in episodes if episode.get("task") == task]
        tasks[task] = {
            "episodes": len(own),
            "steps": int(np.nansum(series(own, "steps"))),
            "falls": sum(episode.get("ended") == "fall" for episode in own),
            "workspace_exits": sum(episode.get("ended") == "exit" for episode in own),
            "speed_m_s": _tail_mean(series(own, "speed_m_s")),
            "turn_rate_rad_s": _tail_mean(series(own, "turn_rate_rad_s")),
        }
    attempts = series(stand_ups, "attempts")
    stood = sum(bool(event.get("ok") and event.get("attempts")) for event in stand_ups)
    return {
        "status": "unfinished",
        "terrain": config.terrain.name,
        "seed": config.run.seed,
        "steps": sum(task["steps"] for task in tasks.values()),
        "gradient_steps": newest.get("gradient_steps", 0),
        "wall_seconds": newest.get("wall_s"),
        "robot_minutes": {"total": sum(minutes.values()), **minutes},
        "human_resets": None,
        "falls": sum(task["falls"] for task in tasks.values()),
        "workspace_exits": sum(task["workspace_exits"] for task in tasks.values()),
        "stand_ups": {
            "tried": int(np.nansum(attempts)),
            "failed": int(np.nansum(attempts)) - stood,
        },
        "tasks": tasks,
    }


def _tail_mean(values: FloatArray) -> float | None:
    tail = values[np.isfinite(values)][-SPEED_WINDOW:]
    return float(tail.mean()) if len(tail) else None

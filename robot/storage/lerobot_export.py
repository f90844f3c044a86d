# SPDX-License-Identifier: MIT
"""Exports a run's episodes as Parquet, in the layout of LeRobotDataset v3.0 (huggingface/lerobot).

    OUT/meta/info.json  stats.json  tasks.parquet  episodes/chunk-000/file-000.parquet
        data/chunk-000/file-000.parquet

One row per control step. As in LeRobot, a row holds the observation before acting and the action;
columns `next.*` hold the result of the step. The data file can be read by pandas on its own.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.robot.config.schema import Config
from walkhome.robot.storage.journal import COMPONENTS, FLAG_EXIT, read_journal
from walkhome.robot.storage.run_folder import RunError, RunFolder, check_creatable
from walkhome.robot.storage.transitions import RecordedTransition, transitions

CODEBASE_VERSION = "v3.0"
CHUNK_SIZE = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_FILE = "chunk-000/file-000.parquet"

# Names of the components of each array column.
_VECTORS = {
    "observation.state": list(COMPONENTS["observation_frame"]),
    "action": list(COMPONENTS["action"]),
    "next.motor_angle": list(COMPONENTS["motor_angle"]),
    "next.sent": list(COMPONENTS["sent"]),
    "next.torque": list(COMPONENTS["torque"]),
    "next.pose": list(COMPONENTS["pose"]),
    "next.cost": list(COMPONENTS["costs"]),
    "next.features": ["v_x", "v_y", "turn", "speed", "abs_turn", "jerk", "lean"],
}


def export(run: RunFolder, out: Path) -> Path:
    """Write a run's steps as a dataset; after an error or a crash there is no `out`.

    Args:
        run: a run folder, open for reading.
        out: folder to create.

    Returns:
        `out`.

    Raises:
        RunError: `out` exists or can't be written, or the run has no step yet.
        JournalError: the journal can't be read.
        ImportError: pyarrow or pandas is not installed (extra `export`).
    """
    import pandas  # noqa: F401 - raises before anything is written
    import pyarrow  # noqa: F401

    check_creatable(out)
    config = run.config
    steps, rows = _steps(read_journal(run.journal).records, config)
    if not steps:
        raise RunError(
            f"{run.path}: its journal holds no step of an episode yet; let it learn longer"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(draft, steps, rows, config)
        if out.exists():
            out.rmdir()  # check_creatable made sure that it is empty
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _steps(
    records: npt.NDArray[Any], config: Config
) -> tuple[list[RecordedTransition], npt.NDArray[Any]]:
    """Transitions with single frames as observations, and the journal record of each."""
    steps = list(transitions(records, config, frames=1))
    places = np.searchsorted(records["index"], [step.index for step in steps])
    return steps, records[places]


def _write(
    folder: Path, steps: list[RecordedTransition], rows: npt.NDArray[Any], config: Config
) -> None:
    _, first, episode = np.unique(rows["episode"], return_index=True, return_inverse=True)
    length = np.diff([*first, len(rows)])
    columns = _columns(steps, rows, config, episode, first)
    _parquet(folder / "data" / _FILE, columns)
    _parquet(
        folder / "meta" / "episodes" / _FILE,
        {
            "episode_index": np.arange(len(first)),
            "tasks": [[config.tasks[rows["task"][i]]] for i in first],
            "length": length,
            "data/chunk_index": np.zeros(len(first), np.int64),
            "data/file_index": np.zeros(len(first), np.int64),
            "dataset_from_index": first,
            "dataset_to_index": first + length,
            "meta/episodes/chunk_index": np.zeros(len(first), np.int64),
            "meta/episodes/file_index": np.zeros(len(first), np.int64),
        },
    )
    _tasks(folder / "meta" / "tasks.parquet", config)
    _json(folder / "meta" / "stats.json", {name: _stats(value) for name, value in columns.items()})
    _json(folder / "meta" / "info.json", _info(columns, len(first), config))


def _columns(
    steps: list[RecordedTransition],
    rows: npt.NDArray[Any],
    config: Config,
    episode: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[Any]]:
    frame_index = np.arange(len(rows)) - first[episode]
    task = rows["task"].astype(np.int64)
    reward = np.array([s.rewards[t] for s, t in zip(steps, task, strict=True)])
    fallen = np.array([step.done for step in steps])
    return {
        "observation.state": np.array([step.observation for step in steps]),
        "action": rows["action"],
        "next.motor_angle": rows["motor_angle"],
        "next.sent": rows["sent"],
        "next.torque": rows["torque"],
        "next.pose": rows["pose"].astype(np.float32),
        "next.cost": rows["costs"].astype(np.float32),
        "next.features": rows["features"].astype(np.float32),
        "next.reward": reward.astype(np.float32),
        "next.done": fallen,
        "next.exit": (rows["flags"] & FLAG_EXIT) > 0,
        "timestamp": (frame_index / config.control.rate_hz).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": episode.astype(np.int64),
        "index": np.arange(len(rows)),
        "task_index": task,
    }


def _parquet(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: Any) -> Any:
        if isinstance(values, list) or values.ndim == 1:
            return pa.array(values)
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: column(v) for name, v in columns.items()}), path)


def _tasks(path: Path, config: Config) -> None:
    import pandas as pd

    names = pd.Index(config.tasks, name="task")
    pd.DataFrame({"task_index": range(len(config.tasks))}, index=names).to_parquet(path)


def _stats(values: npt.NDArray[Any]) -> dict[str, list[float]]:
    table = values.reshape(len(values), -1).astype(np.float64)
    return {
        "min": table.min(0).tolist(),
        "max": table.max(0).tolist(),
        "mean": table.mean(0).tolist(),
        "std": table.std(0).tolist(),
        "count": [len(table)],
    }


def _info(columns: dict[str, npt.NDArray[Any]], episodes: int, config: Config) -> dict[str, Any]:
    features = {
        name: {
            "dtype": str(values.dtype),
            "shape": [values.shape[1] if values.ndim > 1 else 1],
            "names": _VECTORS.get(name),
        }
        for name, values in columns.items()
    }
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": config.robot.name,
        "total_episodes": episodes,
        "total_frames": len(columns["index"]),
        "total_tasks": len(config.tasks),
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": config.control.rate_hz,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": None,
        "features": features,
    }


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

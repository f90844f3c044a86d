# SPDX-License-Identifier: MIT
"""The exported dataset says what the journal says, and reads with pandas alone."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from walkhome.robot.cli.app import app
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.monitor.view import PlainView
from walkhome.robot.storage.journal import read_journal
from walkhome.robot.storage.lerobot_export import export
from walkhome.robot.storage.run_folder import RunError, RunFolder
from walkhome.robot.storage.transitions import transitions
from walkhome.robot.training.train import learn

SMALL = (
    "learning.batch_size=16",
    "learning.hidden_sizes=[16, 16]",
    "episode.length_s=0.6",
    "run.minutes=0.1",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    config = resolve_config(overrides=SMALL).config
    with (
        RunFolder.create(folder, config) as created,
        (folder / "out.txt").open("w") as sink,
    ):
        learn(config, created, PlainView(sink), SimpleNamespace(requested=False))
    return RunFolder.open(folder)


def test_rows_are_the_journals_steps(run, tmp_path):
    out = export(run, tmp_path / "dataset")
    table = pd.read_parquet(out / "data" / "chunk-000" / "file-000.parquet")
    records = read_journal(run.journal).records
    steps = list(transitions(records, run.config, frames=1))
    assert len(table) == len(steps) > 100
    np.testing.assert_array_equal(
        np.stack(table["observation.state"]), [s.observation for s in steps]
    )
    np.testing.assert_array_equal(np.stack(table["action"]), [s.action for s in steps])
    assert table["index"].tolist() == list(range(len(table)))
    for _, episode in table.groupby("episode_index"):
        assert episode["frame_index"].tolist() == list(range(len(episode)))
        assert episode["task_index"].nunique() == 1
        np.testing.assert_allclose(episode["timestamp"], episode["frame_index"] / 50.0, rtol=1e-6)
        # What is seen before a step is what came of the step before.
        seen = np.stack(episode["observation.state"])[1:, :8]
        came = np.stack(episode["next.motor_angle"])[:-1]
        np.testing.assert_allclose(seen, (came - 2.0) * 2.0, atol=1e-5)


def test_the_metadata_fits_the_data(run, tmp_path):
    out = export(run, tmp_path / "dataset")
    info = json.loads((out / "meta" / "info.json").read_text())
    table = pd.read_parquet(out / info["data_path"].format(chunk_index=0, file_index=0))
    assert info["codebase_version"] == "v3.0"
    assert info["total_frames"] == len(table)
    assert info["fps"] == 50
    assert list(info["features"]) == list(table.columns)
    for name, feature in info["features"].items():
        first = np.atleast_1d(table[name].iloc[0])
        assert [len(first)] == feature["shape"]
        assert str(first.dtype) == feature["dtype"]
        assert feature["names"] is None or len(feature["names"]) == len(first)
    episodes = pd.read_parquet(out / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    assert info["total_episodes"] == len(episodes) == table["episode_index"].nunique()
    for row in episodes.itertuples():
        part = table.iloc[row.dataset_from_index : row.dataset_to_index]
        assert (part["episode_index"] == row.episode_index).all()
        assert len(part) == row.length
    tasks = pd.read_parquet(out / "meta" / "tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks["task_index"].to_dict() == {"forward": 0, "backward": 1}
    stats = json.loads((out / "meta" / "stats.json").read_text())
    np.testing.assert_allclose(
        stats["action"]["mean"], np.stack(table["action"]).mean(0), atol=1e-6
    )


def test_a_taken_place_is_refused_and_nothing_is_left_behind(run, tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(RunError, match="exists already"):
        export(run, tmp_path / "taken")
    monkeypatch.setattr("walkhome.robot.storage.lerobot_export._info", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_command(run, tmp_path):
    result = CliRunner().invoke(app, ["export", str(run.path), "--out", str(tmp_path / "x")])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "x")
    result = CliRunner().invoke(app, ["export", str(run.path), "--format", "csv"])
    assert result.exit_code == 2
    assert "use parquet" in result.stderr

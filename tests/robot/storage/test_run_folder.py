# SPDX-License-Identifier: MIT
"""A run folder is made whole or not at all, and what is in it can be read back."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.storage.atomic_files import FileDamaged, read_jsonl, write_json
from walkhome.robot.storage.run_folder import RunError, RunFolder


@pytest.fixture(scope="module")
def config():
    return resolve_config(flags={"terrain": "mattress", "run.seed": 7}).config


def test_a_new_folder_says_what_it_was_made_with(tmp_path, config):
    with RunFolder.create(tmp_path / "a" / "b", config, ["robot", "learn"]) as run:
        assert run.config == config
    made = json.loads((run.path / "provenance.json").read_text())
    assert made["argv"] == ["robot", "learn"]
    assert made["versions"]["numpy"] == np.__version__
    assert made["python"]
    assert re.match(r"\d{4}-\d\d-\d\dT.*\+00:00$", made["start_utc"])
    assert made["start_monotonic_s"] > 0
    assert sorted(p.name for p in run.path.iterdir()) == [
        "config.yaml",
        "events.jsonl",
        "journal",
        "lock",
        "metrics.jsonl",
        "provenance.json",
    ]


def test_the_commit_is_there_in_a_checkout(tmp_path, config):
    if not (Path(__file__).parents[3] / ".git").exists():
        pytest.skip("not a checkout")
    with RunFolder.create(tmp_path / "a", config) as run:
        git = json.loads((run.path / "provenance.json").read_text())["git"]
    assert re.fullmatch(r"[0-9a-f]{40}", git["commit"])
    assert git["dirty"] == bool(git["diff_sha256"] or git["untracked"])


def test_the_default_name_tells_terrain_and_seed_and_is_free(tmp_path, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = set()
    for _ in range(3):
        with RunFolder.create(None, config) as run:
            names.add(run.path.name)
            assert run.path.parent == Path("runs")
    assert len(names) == 3
    assert all(re.match(r"mattress-\d{8}T\d{6}Z-s7(-\d)?$", name) for name in names)


def test_an_empty_folder_may_be_used(tmp_path, config):
    (tmp_path / "empty").mkdir()
    with RunFolder.create(tmp_path / "empty", config) as run:
        assert run.config == config


def snapshot(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def refuse(path, config, root):
    before = snapshot(root)
    with pytest.raises(RunError) as caught:
        RunFolder.create(path, config)
    assert snapshot(root) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_there_already_is_never_touched(tmp_path, config):
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "precious").write_text("x")
    assert "exists already" in refuse(folder, config, tmp_path)
    assert "a file is there" in refuse(folder / "precious", config, tmp_path)
    assert "not a folder" in refuse(folder / "precious" / "run", config, tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "broken link" in refuse(tmp_path / "link", config, tmp_path)


def test_an_unwritable_parent_is_refused(tmp_path, config, monkeypatch):
    # The superuser may write everywhere, so ask the question that a user would be answered.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "can't be written" in refuse(tmp_path / "a" / "b", config, tmp_path)


def test_a_failure_on_the_way_leaves_nothing(tmp_path, config, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("walkhome.robot.storage.run_folder.write_json", full)
    assert "no space left" in refuse(tmp_path / "a" / "b", config, tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no space left" in refuse(tmp_path / "empty", config, tmp_path)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_text("x"), lambda p: p.mkdir()])
def test_only_a_run_folder_opens(tmp_path, make):
    path = tmp_path / "x"
    make(path)
    with pytest.raises(RunError, match=str(path)):
        RunFolder.open(path)


def test_a_broken_configuration_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("nonsense: 1\n")
    with pytest.raises(RunError, match="nonsense"):
        _ = RunFolder.open(tmp_path).config


def test_events_and_metrics_come_back_at_once_and_without_nan(tmp_path, config):
    run = RunFolder.create(tmp_path / "a", config)
    run.event("episode", speed=float("nan"), n=np.int64(3), a=np.array([1.5, np.inf]), ok=True)
    run.metric(robot_s=np.float32(0.5), nested={"x": (1, None)})
    # Still open: a reader must not have to wait.
    read = RunFolder.open(tmp_path / "a")
    expected = {"event": "episode", "speed": None, "n": 3, "a": [1.5, None], "ok": True}
    assert read.events() == [expected]
    assert read.metrics() == [{"robot_s": 0.5, "nested": {"x": [1, None]}}]
    assert "NaN" not in (tmp_path / "a" / "events.jsonl").read_text()
    run.close()
    run.close()


def test_a_folder_open_for_reading_is_not_written(tmp_path, config):
    RunFolder.create(tmp_path / "a", config).close()
    with pytest.raises(RunError, match="reading"):
        RunFolder.open(tmp_path / "a").event("x")


def test_a_torn_last_line_is_left_out_and_a_damaged_one_is_an_error(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\ngarbage\n{"a": 2}\n')
    with pytest.raises(FileDamaged, match=r"events\.jsonl:2"):
        read_jsonl(path)
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_a_summary_is_replaced_whole_or_not_at_all(tmp_path, config, monkeypatch):
    with RunFolder.create(tmp_path / "a", config) as run:
        assert run.summary() is None
        run.write_summary({"status": "done", "x": float("inf")})
        assert run.summary() == {"status": "done", "x": None}
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(OSError, match="I/O"):
            run.write_summary({"status": "other"})
        monkeypatch.undo()
        assert run.summary() == {"status": "done", "x": None}
        assert not list(run.path.glob(".*"))


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_damaged_summary_is_an_error(tmp_path, config, text):
    with RunFolder.create(tmp_path / "a", config) as run:
        (run.path / "summary.json").write_text(text)
        with pytest.raises(RunError, match=r"summary\.json"):
            run.summary()


def test_only_json_goes_into_json(tmp_path):
    with pytest.raises(TypeError, match="object"):
        write_json(tmp_path / "x.json", {"a": object()})
    assert not list(tmp_path.iterdir())


def test_two_runs_may_make_the_folder_above_them_at_once(tmp_path, monkeypatch, config):
    mkdir, above = Path.mkdir, tmp_path / "study" / "ours"

    def beaten(self, *args, **kwargs):
        if self == above and not above.exists():
            mkdir(above)  # the other one is a moment sooner
        return mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", beaten)
    RunFolder.create(above / "s0", config).close()
    assert (above / "s0" / "config.yaml").is_file()
    with pytest.raises(RunError, match="s0"):
        RunFolder.create(above / "s0", config)


def test_a_start_that_fails_leaves_its_neighbour_alone(tmp_path, monkeypatch, config):
    def fail(path, text):
        (tmp_path / "ours" / "s1").mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("walkhome.robot.storage.run_folder.write_text", fail)
    with pytest.raises(RunError, match="no space"):
        RunFolder.create(tmp_path / "ours" / "s0", config)
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["s1"]

# SPDX-License-Identifier: MIT
"""The Ray engine on a cluster of two nodes, one of which is killed during the runs."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from small_study import SMALL, bytes_of, write_study

from walkhome.robot.ablation import ray_engine
from walkhome.robot.ablation.engine import EngineError
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.ray_engine import RayEngine
from walkhome.robot.ablation.study import load_study
from walkhome.robot.cli.stop_signal import StopSignal


class ProgressListener:
    """Kills a node once both runs have made progress."""

    def __init__(self, folder, kill):
        self.folder, self.kill, self.changes, self.killed = folder, kill, [], False

    def change(self, job, state, text=""):
        self.changes.append((job.name, state, text))

    def tick(self):
        runs = [self.folder.run_of(job) / "checkpoints" for job in self.folder.jobs]
        if not self.killed and all(len(list(run.glob("0*"))) >= 2 for run in runs):
            self.killed = True
            self.kill()


class Never:
    requested = False


@pytest.fixture
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(head_node_args={**small, "include_dashboard": False}, initialize_head=True)
    cluster.victim = cluster.add_node(**small)
    try:
        yield cluster
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        cluster.shutdown()


@pytest.mark.timeout(500)
def test_sigterm_is_handled_while_ray_runs(cluster):
    with StopSignal() as stop, RayEngine(cluster.address):
        os.kill(os.getpid(), signal.SIGTERM)  # Ray's own handler would end the program
        time.sleep(0.1)
        assert stop.requested


@pytest.mark.timeout(500)
def test_a_node_is_killed_and_every_run_completes_the_same(cluster, tmp_path, undisturbed):
    study = load_study(write_study(tmp_path, SMALL), 1, claims=False)
    folder = StudyFolder(tmp_path / "out", study)

    def kill():
        threading.Thread(
            target=cluster.remove_node, args=(cluster.victim,), kwargs={"allow_graceful": False}
        ).start()

    listener = ProgressListener(folder, kill)
    with RayEngine(cluster.address) as engine, folder:
        engine.run(folder, folder.jobs, Never(), listener)
    assert listener.killed
    assert sorted(listener.changes) == [
        (name, state, "") for name in ("one-s0", "two-s0") for state in ("finished", "started")
    ]
    resumed = [
        json.loads(line)["event"]
        for job in folder.jobs
        for line in (folder.run_of(job) / "events.jsonl").read_text().splitlines()
    ].count("resume")
    assert resumed == 1
    assert bytes_of(folder.run_of(folder.jobs[0])) == bytes_of(undisturbed)
    assert not (folder.path / ".shared").exists()


def fake_run(order, log, code=0):
    """Stands in for a run's process."""
    log.write_text("error: it broke\n")
    if code == 0:
        run = Path(json.loads(order)["folder"])
        (run / "journal").mkdir(parents=True)
        (run / "summary.json").write_text('{"status": "done"}')
        (run / "evaluation.json").write_text("{}")
        (run / "journal" / "000000.bin").write_bytes(b"records")
    return code


@pytest.fixture
def prepared(tmp_path):
    study = load_study(write_study(tmp_path, SMALL), 1, claims=False)
    folder = StudyFolder(tmp_path / "out", study)
    with folder:
        yield folder


def test_a_node_without_the_folder_sends_the_run_back_whole(prepared, monkeypatch):
    monkeypatch.setattr(ray_engine, "_wait", fake_run)
    job = prepared.jobs[0]
    order = ray_engine.encode_order(job, prepared.path)
    elsewhere = str(prepared.path / "not-here")
    answer = ray_engine.perform(order, str(prepared.log_of(job)), elsewhere, "note")
    assert answer["code"] == 0
    assert set(answer["files"]) == {"summary.json", "evaluation.json", "journal/000000.bin"}
    assert not prepared.run_of(job).exists()
    ray_engine._receive(prepared.run_of(job), answer["files"])
    assert prepared.finished(job)
    # A second result of the same run is not taken.
    ray_engine._receive(prepared.run_of(job), {"summary.json": b"other"})
    assert (prepared.run_of(job) / "journal" / "000000.bin").read_bytes() == b"records"


def test_a_node_with_the_folder_writes_there(prepared, monkeypatch):
    monkeypatch.setattr(ray_engine, "_wait", fake_run)
    job = prepared.jobs[0]
    (prepared.path / ".shared").write_text("note")
    order = ray_engine.encode_order(job, prepared.path)
    answer = ray_engine.perform(order, str(prepared.log_of(job)), str(prepared.path), "note")
    assert answer == {"code": 0, "why": "", "files": {}}
    assert prepared.finished(job)


def test_a_failure_on_a_node_is_reported_with_its_reason(prepared, monkeypatch):
    monkeypatch.setattr(ray_engine, "_wait", lambda order, log: fake_run(order, log, 1))
    job = prepared.jobs[0]
    answer = ray_engine.perform(
        ray_engine.encode_order(job, prepared.path), "log", str(prepared.path), ""
    )
    assert answer == {"code": 1, "why": "it broke (exit code 1)", "files": {}}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "nothing answers there"),
        ("nowhere", "write HOST:PORT"),
        ("127.0.0.1:99999", "nothing answers there"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(address, said):
    with pytest.raises(EngineError, match=said), RayEngine(address):
        pass

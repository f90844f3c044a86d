# SPDX-License-Identifier: MIT
"""The learner in a process of its own: the same numbers, and no way to be lost unnoticed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learners import ENVIRONMENT, alive, episode, wait_until
from small_runs import SMALL, assert_same_run, config_of, newest, run

from walkhome.learning.remote.pipelined import PipelinedLearner
from walkhome.learning.remote.process import LearnerLost
from walkhome.robot.storage.journal import read_journal
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_factory import make_learner
from walkhome.robot.training.learner_process import process_settings, share_out

PIPELINED = ("learning.process=pipelined", "learning.lag_steps=2", "run.minutes=0.12")
LAG = 9


def start(config, lag=LAG, processes=1, **changes):
    settings = share_out(process_settings(config), config.tasks, processes)
    return PipelinedLearner([replace(one, **changes) for one in settings], config.tasks, lag)


@pytest.fixture(scope="module")
def config():
    return config_of("constraint.kp=1.0")


@pytest.fixture(scope="module")
def remote(config):
    learner = start(config, processes=2)
    yield learner
    learner.close()


def assert_same_state(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first["tensors"].keys() == second["tensors"].keys()
    for name, value in first["tensors"].items():
        np.testing.assert_array_equal(value, second["tensors"][name], err_msg=name)
        assert value.dtype == second["tensors"][name].dtype
    assert json.dumps(first["scalars"]) == json.dumps(second["scalars"])


def weights_of(learner, task):
    return np.concatenate([part.ravel() for pair in learner.policy(task).layers for part in pair])


def test_it_is_the_inline_learner_a_fixed_lag_behind(config, remote):
    """Same messages, same state; and at each step the weights of exactly the step that was said.

    Two processes with a task each are together the one learner, to the last bit.
    """
    inline = make_learner(config)
    remote.load_state_dict(inline.state_dict())
    remote.forget()
    every, history = LAG // 4, [weights_of(inline, "backward")]
    rng = np.random.default_rng(0)

    def compare():
        history.append(weights_of(inline, "backward"))
        remote.refresh()
        calls = len(history) - 1
        due = max(0, (calls - LAG) // every * every)
        np.testing.assert_array_equal(weights_of(remote, "backward"), history[due])

    episode([inline, remote], rng, 40, at_step=compare)
    episode([inline, remote], rng, 25, "backward", at_step=compare)
    assert not np.array_equal(history[-1], history[0])
    assert remote.gradient_steps < inline.gradient_steps
    remote.drain()
    assert remote.gradient_steps == inline.gradient_steps > 0
    np.testing.assert_array_equal(weights_of(remote, "backward"), history[-1])
    np.testing.assert_array_equal(remote.multipliers("forward"), inline.multipliers("forward"))
    assert remote.multipliers("forward").any()
    assert remote.metrics() == inline.metrics()
    assert remote.finite()
    assert_same_state(inline, remote)


def test_a_state_goes_there_and_back_and_a_wrong_one_changes_nothing(config, remote):
    other = make_learner(config_of("run.seed=5"))
    episode([other], np.random.default_rng(1), 20)
    remote.load_state_dict(other.state_dict())
    assert_same_state(other, remote)
    np.testing.assert_array_equal(weights_of(remote, "forward"), weights_of(other, "forward"))
    wrong = make_learner(config_of("learning.hidden_sizes=[8, 8]")).state_dict()
    with pytest.raises(ValueError, match="cannot be used"):
        remote.load_state_dict(wrong)
    assert_same_state(other, remote)


def test_tasks_are_shared_out_evenly():
    config = config_of("tasks=[forward, backward, left, right]")
    for processes, sizes in ((1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (9, [1, 1, 1, 1])):
        mine = [
            s.setup["mine"] for s in share_out(process_settings(config), config.tasks, processes)
        ]
        assert [len(tasks) for tasks in mine] == sizes
        assert sorted(task for tasks in mine for task in tasks) == sorted(config.tasks)


def test_more_than_the_ring_holds_arrives_all_the_same(config):
    inline, remote = make_learner(config), start(config, rows=8)
    try:
        episode([inline, remote], np.random.default_rng(2), 60)
        assert_same_state(inline, remote)
    finally:
        remote.close()


def test_experience_that_is_not_finite_is_refused_here(remote):
    with pytest.raises(ValueError, match="not finite"):
        episode([remote], _NanOnce(), 1)
    remote.drain()  # and the learner lives on


class _NanOnce:
    def standard_normal(self, n):
        return np.full(n, np.nan)

    def uniform(self, low, high, n):
        return np.zeros(n)

    def random(self):
        return 0.5


def test_a_hung_learner_is_noticed_and_ended(config):
    learner = start(config, hang_s=0.6)
    os.kill(learner.pids[0], signal.SIGSTOP)
    with pytest.raises(LearnerLost, match=r"did nothing for 0\.6 s"):
        episode([learner], np.random.default_rng(4), 60, at_step=learner.refresh)
    assert not alive(learner.pids[0])
    learner.close()


def test_a_learner_that_diverges_says_so(config):
    learner = start(config_of("learning.learning_rate=1.0", "reward.linear_scale=1.0"))
    state = learner.state_dict()
    name = "forward.sac.critics.reward.layer0.weight"
    name = (
        name
        if name in state["tensors"]
        else next(k for k in state["tensors"] if ".actor." in k and k.endswith("bias"))
    )
    state["tensors"][name] = np.full_like(state["tensors"][name], np.nan)
    with pytest.raises(FloatingPointError, match="diverged"):
        learner.load_state_dict(state)
    learner.close()


def test_a_process_that_can_not_start_says_so(config):
    with pytest.raises(LearnerLost, match="exit code 3"):
        start(config, command=(sys.executable, "-c", "raise SystemExit(3)"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with one learner process for both tasks."""
    folder = tmp_path_factory.mktemp("pipelined") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: {0})
        run(folder, config_of(*PIPELINED))
    return folder


def test_killed_and_resumed_is_the_same_run(whole, tmp_path, monkeypatch):
    """Also when other cores are there then; the same seed gives the same bytes all along."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    run(tmp_path / "run", config_of(*PIPELINED), kill_at_step=230)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    run(tmp_path / "run", config_of(*PIPELINED), resume=True)
    assert_same_run(whole, tmp_path / "run")
    assert newest(whole)[1]["learner"]["gradient_steps"] > 100


# -- real processes ------------------------------------------------------------------------------


def learn_command(folder):
    sets = [f"--set={item}" for item in (*SMALL, *PIPELINED, "run.minutes=50")]
    return [
        sys.executable,
        "-m",
        "walkhome.robot.cli",
        "learn",
        "--json",
        "--run-dir",
        folder,
        *sets,
    ]


def learners_of(pid):
    """Process ids of the learners that a run started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid and "walkhome.robot.training.learner_process" in command:
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def running(tmp_path):
    """A run that has learned for a while, in a process group of its own, and its learner's pid."""
    process = subprocess.Popen(
        learn_command(tmp_path / "run"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))) >= 2)
        learners = learners_of(process.pid)
        assert learners
        for pid in (process.pid, *learners):  # what has a name outlives a kill
            mapped = Path(f"/proc/{pid}/maps").read_text()
            assert "walkhome (deleted)" in mapped  # memory without a name
            assert "/dev/shm" not in mapped
        yield process, learners, tmp_path / "run"
        wait_until(lambda: not any(map(alive, learners)), 10.0)
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_for_everybody_saves_and_ends_everybody(running):
    process, _, folder = running
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert errors == ""
    summary = RunFolder.open(folder).summary()
    assert summary["status"] == "interrupted"
    assert summary["gradient_steps"] == newest(folder)[1]["learner"]["gradient_steps"]


def test_a_killed_run_leaves_nothing_behind(running):
    process, learners, _ = running
    os.kill(learners[0], signal.SIGSTOP)  # not even one that hangs
    process.kill()


def test_a_killed_learner_ends_the_run_and_nothing_is_lost(running):
    process, (*_, learner), folder = running
    os.kill(learner, signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, output + errors
    (line,) = errors.splitlines()
    assert line.startswith(f"error: the learner process (pid {learner}) was ended by SIGKILL")
    assert "--resume" in line
    assert RunFolder.open(folder).summary()["status"] == "failed"
    records = read_journal(folder / "journal").records
    assert np.array_equal(records["index"], np.arange(len(records)))

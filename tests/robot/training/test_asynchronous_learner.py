# SPDX-License-Identifier: MIT
"""The learner that nobody waits for: it is behind, it dies, it comes back; the robot walks on."""

import json
import os
import signal
import time

import numpy as np
import pytest
from learners import alive, episode, wait_until
from small_runs import SMALL, Silent, config_of

from walkhome.learning.checkpoint import load
from walkhome.learning.remote.asynchronous import MAX_RESTARTS, MAX_STALE_S, AsynchronousLearner
from walkhome.learning.remote.process import LearnerLost
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.twin_plant import TwinPlant, make_twin
from walkhome.robot.storage.journal import read_journal
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_factory import make_learner
from walkhome.robot.training.learner_process import process_settings
from walkhome.robot.training.trainer import Trainer

FREE = "learning.process=free"


class Clock:
    """Says what it is told."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def start(folder, clock):
    config = config_of(FREE)
    with RunFolder.create(folder / "run", config):
        pass
    restore = {"run": str(folder / "run")}
    return AsynchronousLearner(process_settings(config), config.tasks, restore, clock)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def learner(clock, tmp_path):
    made = start(tmp_path, clock)
    yield made
    made.close()


def settle(learner, done):
    """Look after it until something is so."""

    def step():
        learner.refresh()
        return done()

    wait_until(step)


def test_it_does_what_it_owes_and_what_it_loses_is_counted(learner):
    inline = make_learner(config_of())
    episode([inline, learner], np.random.default_rng(0), 50)
    assert learner.status().wanted_steps == 100
    settle(learner, lambda: learner.status().behind_steps == 0)
    assert inline.gradient_steps < 100  # what was asked for before there was a batch is done now
    settle(learner, lambda: learner.gradient_steps == 100)
    status = learner.status()
    assert (status.dropped, status.restarts) == (0, 0)
    learner.drain()
    # The multipliers do not depend on who waits for whom.
    np.testing.assert_array_equal(learner.multipliers("forward"), inline.multipliers("forward"))
    assert learner.state_dict()["scalars"]["gradient_steps"] == 100
    assert learner.finite()
    # Nobody waits for one that stands still.
    rows = learner._settings.rows
    os.kill(learner.pids[0], signal.SIGSTOP)
    episode([learner], np.random.default_rng(1), rows, at_step=learner.refresh)  # 2 messages a step
    assert learner.status().behind_steps == rows
    os.kill(learner.pids[0], signal.SIGCONT)
    settle(learner, lambda: learner.status().behind_steps == 0)
    assert learner.status().dropped == pytest.approx(rows / 2, abs=2)


def lose(learner, clock, how):
    """Kill or freeze its process, and wait until another one is started."""
    (pid,) = learner.pids
    os.kill(pid, how)
    episode([learner], np.random.default_rng(3), 10)
    if how is signal.SIGSTOP:
        clock.now_s += learner._settings.hang_s + 1.0
    settle(learner, lambda: learner.pids != [pid])
    return pid


def test_one_that_dies_or_hangs_is_started_again_but_not_for_ever(learner, clock):
    episode([learner], np.random.default_rng(2), 30)
    settle(learner, lambda: learner.gradient_steps == 60)
    for restarts, how in ((1, signal.SIGKILL), (2, signal.SIGSTOP)):
        weights = learner._replica.weights.copy()
        pid = lose(learner, clock, how)
        np.testing.assert_array_equal(
            learner._replica.weights, weights
        )  # the last good policy acts
        (alarm,) = learner.notices()
        assert "ALARM" in alarm
        assert ("SIGKILL" if how is signal.SIGKILL else "did nothing") in alarm
        episode([learner], np.random.default_rng(4), 10)  # its experience waits for the new one
        settle(learner, lambda n=restarts: learner.gradient_steps == 60 + 40 * n)
        status = learner.status()
        assert (status.restarts, status.dropped, status.behind_steps) == (restarts, 0, 0)
        assert "is back" in learner.notices()[0]
        assert not alive(pid)
    for _ in range(MAX_RESTARTS - 2):
        lose(learner, clock, signal.SIGKILL)
    os.kill(learner.pids[0], signal.SIGKILL)
    with pytest.raises(LearnerLost, match=f"after {MAX_RESTARTS} restarts"):
        settle(learner, lambda: False)


def test_too_long_without_newer_weights_is_an_error(learner, clock):
    os.kill(learner.pids[0], signal.SIGSTOP)
    clock.now_s += MAX_STALE_S + 1.0
    learner.refresh()  # nothing to learn: no error
    learner._settings = type(learner._settings)(**{**vars(learner._settings), "hang_s": 1e9})
    episode([learner], np.random.default_rng(5), 1)
    clock.now_s += MAX_STALE_S + 1.0
    with pytest.raises(LearnerLost, match="no newer weights"):
        learner.refresh()
    os.kill(learner.pids[0], signal.SIGCONT)


class RealTime:
    """The twin's clock with some wall time in each period."""

    def __init__(self, clock):
        self._clock = clock
        self.period_s = self.elapsed_s = clock.period_s

    def now_s(self):
        return self._clock.now_s()

    def tick(self):
        time.sleep(0.002)
        self._clock.tick()


class KillOnce:
    """Kills the learner after some steps; asks for the end a while after it is back."""

    def __init__(self):
        self.loop, self.killed, self.walked, self.back = None, 0, 0, 0

    @property
    def requested(self):
        if self.loop is None:
            return False
        learner, steps = self.loop._learner, self.loop._statistics.steps
        if not self.killed and learner.gradient_steps > 150:
            self.killed = learner.pids[0]
            os.kill(learner.pids[0], signal.SIGKILL)
            self.walked = steps
        if not self.killed or learner.pids[0] == self.killed or not learner._replica.number:
            return False
        self.back = self.back or steps
        self.walked_on = self.back - self.walked
        return steps >= self.back + 50


@pytest.mark.timeout(600)
def test_the_robot_walks_on_while_the_learner_is_started_again(tmp_path):
    config = resolve_config(
        overrides=[*SMALL, FREE, "run.minutes=60", "run.checkpoint_every_s=3.0"]
    ).config
    twin = make_twin(config, 0)
    stop, view = KillOnce(), Silent()
    with RunFolder.create(tmp_path / "run", config) as folder:
        rig = TwinPlant(twin.robot, twin.pose, RealTime(twin.clock), 0.025)
        stop.loop = Trainer(config, folder, view, stop, rig)
        assert isinstance(stop.loop._learner, AsynchronousLearner)
        summary = stop.loop.run()
    assert summary["status"] == "interrupted"
    assert stop.walked_on > 20
    assert summary["learner"]["restarts"] == 1
    assert summary["learner"]["dropped"] == 0
    learner = stop.loop._learner  # its replay: from the journal and the ring, none twice
    assert learner._replica.notes["stored"] == learner._replica.notes["added"] == learner._added
    assert any("ALARM" in text and "SIGKILL" in text for text in view.messages)
    assert any("is back" in text for text in view.messages)
    folder = tmp_path / "run"
    events = [json.loads(line) for line in (folder / "events.jsonl").open()]
    assert sum(event["event"] == "learner" for event in events) >= 2
    assert sum(event["event"] == "checkpoint" for event in events) >= 2
    # What was saved last is everything: the journal's steps, and the updates until then.
    newest = (folder / "latest").read_text().strip()
    _, scalars = load(folder / "checkpoints" / newest)
    records = read_journal(folder / "journal").records
    assert scalars["loop"]["records"] == len(records)
    saved = scalars["learner"]["gradient_steps"]
    assert saved >= summary["gradient_steps"]
    # And it can be gone on with.
    with RunFolder.resume(folder, minutes=summary["robot_minutes"]["total"] + 0.05) as resumed:
        again = Trainer(
            resumed.config, resumed, Silent(), KillNever(), make_twin(config, 0), resume=True
        )
        assert again._learner.gradient_steps >= saved
        assert again.run()["status"] == "done"


class KillNever:
    requested = False

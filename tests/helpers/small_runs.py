# SPDX-License-Identifier: MIT
"""Small runs in the twin: run, kill, resume, and compare them byte by byte."""

from types import SimpleNamespace

import numpy as np
import pytest

from walkhome.learning.checkpoint import load
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.storage.journal import read_journal
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_process import start_learner
from walkhome.robot.training.trainer import Trainer

SMALL = (
    "learning.batch_size=16",
    "learning.hidden_sizes=[16, 16]",
    "learning.random_steps=40",
    "learning.updates_per_step=1",
    "episode.length_s=0.6",
    "run.checkpoint_every_s=2.0",
    "run.minutes=0.2",
)


class Silent:
    """A view that keeps its messages and shows nothing."""

    def __init__(self):
        self.messages = []

    def update(self, snapshot):
        pass

    def message(self, text):
        self.messages.append(text)

    def close(self):
        pass


GO = SimpleNamespace(requested=False)


def config_of(*sets):
    """The configuration of a small run, with overrides."""
    return resolve_config(overrides=[*SMALL, *sets]).config


class Killed(BaseException):
    """Stands for SIGKILL: the trainer's own code does not run after it."""


def run(folder, config, kill_at_step=None, resume=False, start=start_learner):
    """Run to the end, or until the twin has been advanced `kill_at_step` times; return the view."""
    plant, view = make_twin(config, config.run.seed), Silent()
    if kill_at_step is not None:
        advance, count = plant.robot.advance, iter(range(kill_at_step))

        def until_killed(duration_s):
            if next(count, None) is None:
                raise Killed
            advance(duration_s)

        plant.robot.advance = until_killed
    open_folder = RunFolder.resume(folder) if resume else RunFolder.create(folder, config)
    trainer = Trainer(config, open_folder, view, GO, plant, resume, start)
    if kill_at_step is None:
        with open_folder:
            trainer.run()
        return view
    with pytest.raises(Killed):
        trainer._train()
    trainer._recorder.flush()  # what the disk might have; tests cut it off
    open_folder.close()
    plant.robot.close()
    trainer._learner.close()
    return view


def newest(folder):
    """Tensors and scalars of a run's newest checkpoint."""
    return load(folder / "checkpoints" / (folder / "latest").read_text().strip())


def assert_same_run(mine, other):
    """Compare journal, newest checkpoint, policies and events of two run folders."""
    records = [read_journal(folder / "journal").records for folder in (mine, other)]
    np.testing.assert_array_equal(*records)
    (tensors, scalars), (other_tensors, other_scalars) = newest(mine), newest(other)
    assert tensors.keys() == other_tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, other_tensors[name], err_msg=name)
    for state in (scalars, other_scalars):
        state["loop"].pop("spent")
    assert scalars == other_scalars
    policies = [(folder / "policy.safetensors").read_bytes() for folder in (mine, other)]
    assert policies[0] == policies[1]
    events = [
        [
            {key: value for key, value in event.items() if key != "wall_s"}
            for event in RunFolder.open(folder).events()
            if event["event"] in ("episode", "stand_up", "checkpoint")
        ]
        for folder in (mine, other)
    ]
    assert events[0] == events[1]

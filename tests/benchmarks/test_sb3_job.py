# SPDX-License-Identifier: MIT
"""Stable-Baselines3 in this loop: it trains on its own episodes, and its policy is exported."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from walkhome.learning.transition import Transition
from walkhome.robot.ablation.engine import run_process
from walkhome.robot.ablation.job import encode_order
from walkhome.robot.ablation.study import Evaluation, Job
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.mdp.observation import observation_layout

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SETTINGS = {
    "learning": {"batch_size": 16, "random_steps": 60, "relabel": False, "symmetry": "none"},
    "constraint.kind": "off",
    "run.minutes": 0.15,
    "episode.length_s": 1.0,
}

pytest.importorskip("stable_baselines3")


@pytest.fixture(scope="module")
def config():
    return resolve_config(layers=[(SETTINGS, "test", Path())]).config


@pytest.fixture(scope="module")
def sb3_job():
    spec = importlib.util.spec_from_file_location("sb3_job", BENCHMARKS / "sb3_job.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def feed(learner, task, n, rng):
    size = learner.policy(task).observation_size
    for _ in range(n):
        learner.add(
            Transition(
                rng.normal(size=size), rng.uniform(-1, 1, 8), [1.0, 2.0], [0.0, 0.0],
                rng.normal(size=size), False, task,
            )
        )  # fmt: skip


def test_an_agent_learns_from_its_own_episodes_when_it_has_enough(config, sb3_job):
    learner, rng = sb3_job.start(config, Path()), np.random.default_rng(0)
    forward, backward = learner._agents["forward"], learner._agents["backward"]
    feed(learner, "backward", 101, rng)
    assert (forward.replay_buffer.size(), backward.replay_buffer.size()) == (0, 101)
    assert (backward.replay_buffer.rewards[:101] == 2.0).all()
    before = learner.state_dict()["tensors"]
    assert learner.update(3) == 3
    after = learner.state_dict()["tensors"]
    moved = {name.split(".")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"backward"}
    feed(learner, "forward", 100, rng)
    assert learner.update(1) == 0  # learning_starts
    assert learner.gradient_steps == 3


def test_the_policy_acts_as_the_agent(config, sb3_job):
    learner, rng = sb3_job.start(config, Path()), np.random.default_rng(0)
    feed(learner, "forward", 150, rng)
    learner.update(20)
    learner.refresh()
    observation = rng.normal(size=observation_layout(config.control).size)
    agent = learner._agents["forward"]
    expected, _ = agent.predict(observation.astype(np.float32), deterministic=True)
    mine = learner.policy("forward").act(observation, deterministic=True)
    np.testing.assert_allclose(mine, expected, atol=1e-5)
    with torch.no_grad():
        row = torch.from_numpy(observation[None].astype(np.float32))
        mean, log_std, _ = agent.actor.get_action_dist_params(row)
    noise = rng.normal(size=8)
    drawn = learner.policy("forward").act(observation, deterministic=False, noise=noise)
    wanted = np.tanh(mean.numpy()[0] + np.exp(log_std.numpy()[0]) * noise)
    np.testing.assert_allclose(drawn, wanted, atol=1e-5)


def test_a_run_of_it_is_a_run(config, tmp_path):
    job = Job("sb3", 0, config, Evaluation(episodes=1, seconds=0.5))
    command = (sys.executable, str(BENCHMARKS / "sb3_job.py"))
    with run_process(encode_order(job, tmp_path), tmp_path / "log", command) as process:
        assert process.wait() == 0, (tmp_path / "log").read_text()
    folder = tmp_path / job.folder
    assert (folder / "evaluation.json").is_file()
    assert (folder / "journal").is_dir()

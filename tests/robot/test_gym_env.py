# SPDX-License-Identifier: MIT
"""The Gymnasium environment: the checkers pass, and it equals `robot learn` step for step."""

import math
import warnings
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from small_runs import Silent

from walkhome.robot.config.resolve import ConfigError, resolve_config
from walkhome.robot.gym_env import WalkEnv
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_process import start_learner
from walkhome.robot.training.train import learn

NAME = "walkhome/Walk-v0"
LEAN = {"workspace.half_length_m": 0.45, "workspace.half_width_m": 0.45, "workspace.margin_m": 0.0,
        "workspace.centre_radius_m": 0.1, "learning.symmetry": "none"}  # fmt: skip


@pytest.fixture
def make():
    made = []

    def one(**kwargs):
        made.append(gymnasium.make(NAME, **kwargs))
        return made[-1]

    yield one
    for env in made:
        env.close()


def test_gymnasium_s_checker_passes(make):
    env = make(terrain="mattress", task="forward", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*infinity")  # angular rates are unbounded
        check_env(env.unwrapped)


def test_stable_baselines3_s_checker_passes(make):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(make(task="scheduled").unwrapped)


def test_it_equals_robot_learn_step_for_step(tmp_path, make):
    settings = {"learning.batch_size": 16, "learning.random_steps": 100_000, "run.minutes": 0.25,
                "episode.length_s": 1.5, "run.checkpoint_every_s": 1000.0}  # fmt: skip
    config = resolve_config(layers=[(settings, "test", tmp_path)]).config
    learned, ends = [], []

    def start(config, run):
        learner = start_learner(config, run)
        learner.add = learned.append
        end_episode = learner.end_episode
        learner.end_episode = lambda *args: (ends.append(len(learned)), end_episode(*args))
        return learner

    never = SimpleNamespace(requested=False)
    with RunFolder.create(tmp_path / "run", config) as run:
        summary = learn(config, run, Silent(), never, start=start)
    assert summary["falls"] > 0
    assert len(ends) > 3

    env = make(task="scheduled", settings=settings)
    scale = 1.0 / config.constraint.budget
    seen, info = env.reset(seed=config.run.seed)
    for number, given in enumerate(learned, 1):
        np.testing.assert_array_equal(seen, given.observation.astype(np.float32))
        assert info["task"] == given.task
        seen, reward, fell, cut, info = env.unwrapped.step(given.action)  # not rounded to float32
        np.testing.assert_array_equal(seen, given.next_observation.astype(np.float32))
        assert reward == given.rewards[config.tasks.index(given.task)]
        assert [info["rewards"][name] for name in config.tasks] == given.rewards.tolist()
        np.testing.assert_array_equal(info["costs"] * scale, given.costs)
        assert fell == given.done
        assert (fell or cut) == (number in ends)
        if fell or cut:
            now = info
            if number < len(learned):
                seen, info = env.reset()
    for phase in ("moving", "standing_up", "waiting"):
        assert now[f"{phase}_s"] / 60.0 == pytest.approx(summary["robot_minutes"][phase], abs=1e-9)
    assert now["falls"] == summary["falls"]


def test_a_seed_repeats_the_episode(make):
    def rollout(env, seed):
        out = [env.reset(seed=seed)[0]]
        out += [env.step(np.full(8, math.sin(step), np.float32))[0] for step in range(20)]
        return np.array(out)

    one, two = make(), make()
    first = rollout(one, 3)
    np.testing.assert_array_equal(first, rollout(two, 3))
    np.testing.assert_array_equal(first, rollout(one, 3))
    assert not np.array_equal(first, rollout(one, 4))


def test_a_reset_leaves_the_robot_where_it_is(make):
    env = make(task="scheduled", settings={"episode.length_s": 1.0})
    env.reset(seed=0)
    twin = env.unwrapped._world.plant.robot
    for _ in range(3):
        cut = fell = False
        while not (fell or cut):
            _, _, fell, cut, info = env.step(np.ones(8, np.float32))
        before, spent = np.array(twin.true_state().position_m), info["robot_s"]
        _, info = env.reset()
        assert env.unwrapped._world.plant.robot is twin
        moved = np.linalg.norm((np.array(twin.true_state().position_m) - before)[:2])
        assert moved < 0.2 + (info["robot_s"] - spent) * 0.5
        assert info["robot_s"] > spent  # standing up takes robot time
    assert info["human_resets"] == 0


def test_with_one_task_a_carry_back_counts_as_a_human_reset(make):
    env = make(task="forward", settings=LEAN)
    _, info = env.reset(seed=0)
    for _ in range(2000):
        if info["human_resets"]:
            break
        # Pushing off with all legs again and again moves the robot somewhere.
        swing = 1.0 if info["moving_s"] % 0.3 < 0.12 else -1.0
        action = np.array([swing] * 4 + [-swing] * 4, np.float32)
        _, _, fell, cut, info = env.step(action)
        assert info["task"] == "forward"
        assert set(info["rewards"]) == {"forward"}
        if fell or cut:
            _, info = env.reset()
    assert info["human_resets"] >= 1
    pose = env.unwrapped._now.begin
    assert math.hypot(pose.x_m, pose.y_m) < 0.1


def test_invalid_arguments_are_refused(make):
    with pytest.raises(ConfigError, match="did you mean 'forward'"):
        WalkEnv(task="forwards")
    with pytest.raises(ConfigError, match="terrain"):
        WalkEnv(terrain="mattres")
    with pytest.raises(ConfigError, match=r"control\.rate_hz"):
        WalkEnv(settings={"control.rate_hzz": 50})
    with pytest.raises(ConfigError, match="rgb_array"):
        WalkEnv(render_mode="human")
    env = WalkEnv()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(8, np.float32))
    env.reset(seed=0)
    for bad in (np.zeros(7), np.full(8, np.nan)):
        with pytest.raises(ValueError, match="8 finite numbers"):
            env.step(bad)
    env.close()
    env.close()


def test_actions_are_clipped_to_their_range(make):
    env = make().unwrapped
    seen = []
    for size in (1.0, 5.0):
        env.reset(seed=0)
        seen.append(env.step(np.full(8, size, np.float32))[0])
    np.testing.assert_array_equal(*seen)

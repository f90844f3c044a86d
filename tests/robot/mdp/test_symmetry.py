# SPDX-License-Identifier: MIT
"""Mirror images: they undo themselves, and the physics agrees that they are true."""

import numpy as np
import pytest

from walkhome.learning.replay import Replay
from walkhome.learning.transition import Transition
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.actuator import ActionPath
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.mdp.observation import ObservationLayout, Observer
from walkhome.robot.mdp.rewards import motion, reward_features, reward_weights
from walkhome.robot.mdp.symmetry import symmetries

FOUR = ("forward", "backward", "left", "right")
QUIET = [
    f"sim.{name}=0.0"
    for name in (
        "motor_angle_noise_rad",
        "motor_velocity_noise_rad_s",
        "attitude_noise_rad",
        "angular_velocity_noise_rad_s",
    )
]
LAYOUT = ObservationLayout(frames=2)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_mirror_undoes_itself(index):
    symmetry = symmetries("full", LAYOUT, FOUR)[index]
    rng = np.random.default_rng(0)
    for part, size in ((symmetry.observation, LAYOUT.size), (symmetry.action, 8)):
        x = rng.normal(size=(3, size))
        assert not np.array_equal(part(x), x)
        assert np.array_equal(part(part(x)), x)


def test_kinds():
    assert symmetries("none", LAYOUT, FOUR) == ()
    assert len(symmetries("sides", LAYOUT, ("forward", "backward"))) == 1
    assert len(symmetries("sides", LAYOUT, ("forward",))) == 1
    with pytest.raises(ValueError, match="sides"):
        symmetries("both", LAYOUT, FOUR)


def roll_out(actions):
    """Observations and rewards of a noiseless twin driven by `actions` (n, 8)."""
    config = resolve_config(overrides=[*QUIET, "control.history_frames=2"]).config
    rig = make_twin(config, 0)
    path, observer = ActionPath(rig.robot.body, config.control), Observer(LAYOUT, rig.robot.body)
    state = rig.robot.read()
    filtered = path.reset(state)
    rig.actuator.reset(state)
    past = [filtered, filtered]
    observations, rewards = [observer.reset(state, filtered)], []
    before = start = rig.pose.latest()
    for action in actions:
        target = path.target(action)
        filtered = target.filtered
        rig.actuator.send(target, state)
        rig.clock.tick()
        state, pose = rig.robot.read(), rig.pose.latest()
        observations.append(observer.observe(state, filtered))
        velocity = motion(
            (before.x_m, before.y_m, before.yaw_rad),
            (pose.x_m, pose.y_m, pose.yaw_rad),
            start.yaw_rad,
            rig.clock.period_s,
        )
        features = reward_features(velocity, (filtered, past[-1], past[-2]))
        rewards.append(features @ reward_weights(FOUR, config.reward))
        past, before = [past[-1], filtered], pose
    rig.robot.close()
    return np.array(observations), np.array(rewards)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_twin_in_the_mirror_does_the_mirrored_thing(index):
    symmetry = symmetries("full", LAYOUT, FOUR)[index]
    rng = np.random.default_rng(1)
    actions = np.cumsum(rng.normal(size=(15, 8)), axis=0).clip(-4, 4) / 8
    there, earned = roll_out(actions)
    mirrored, earned_there = roll_out(symmetry.action(actions))
    expected = symmetry.observation(there)
    assert np.abs(there).max() > 0.5
    # Not exactly: the URDF gives one motor no inertia and offsets the shanks by millimetres.
    assert np.abs(mirrored - expected).max() < 0.2
    assert np.abs(mirrored - there).max() > 3 * np.abs(mirrored - expected).max()
    mean, mean_expected = earned_there.mean(0), symmetry.rewards(earned).mean(0)
    assert np.abs(mean - mean_expected).max() < 0.15 * np.abs(earned).max()


def test_a_batch_holds_every_image_of_what_was_stored():
    images = symmetries("full", LAYOUT, FOUR)
    replay = Replay(10, LAYOUT.size, 8, 4, 2, images)
    rng = np.random.default_rng(2)
    observation, action = rng.normal(size=LAYOUT.size), rng.uniform(-1, 1, 8)
    rewards, costs = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.25])
    replay.add(Transition(observation, action, rewards, costs, 2 * observation, True, "forward"), 0)
    batch = replay.sample(rng, 8, 0, only_own=False)
    for i, image in enumerate(images):
        rows = slice(2 * i, 2 * i + 2)
        assert np.allclose(batch.observation[rows], image.observation(observation))
        assert np.allclose(batch.next_observation[rows], image.observation(2 * observation))
        assert np.allclose(batch.action[rows], image.action(action))
        assert np.allclose(batch.reward[rows], image.rewards(rewards)[0])
    assert np.allclose(batch.observation[6:], observation)
    assert np.allclose(batch.cost, costs)
    assert not batch.not_done.any()
    assert batch.reward.tolist() == [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]

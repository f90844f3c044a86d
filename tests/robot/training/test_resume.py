# SPDX-License-Identifier: MIT
"""A run that was killed and resumed is the run that was not."""

import enum
import shutil
import threading
from collections import deque
from types import MethodType

import numpy as np
import pytest
import torch
from small_runs import GO, Silent, assert_same_run, config_of, run

from walkhome.learning.checkpoint import CheckpointInvalid
from walkhome.learning.learner import Learner
from walkhome.learning.replay import Replay
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.storage.journal import RECORD_BYTES, read_journal
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.storage.transitions import refill, transitions
from walkhome.robot.training.learner_factory import make_learner
from walkhome.robot.training.train import learn
from walkhome.robot.training.trainer import Trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume") / "whole"
    run(folder, config_of())
    return folder


@pytest.mark.parametrize("kill_at_step", [3, 130, 261, 440])
def test_killed_and_resumed_is_the_same_run(whole, tmp_path, kill_at_step):
    folder = tmp_path / "run"
    run(folder, config_of(), kill_at_step)
    segment = folder / "journal" / "000000.bin"
    with segment.open("r+b") as stream:  # a torn tail of a few records
        stream.truncate(max(stream.seek(0, 2) - 3 * RECORD_BYTES - 7, 4000))
    run(folder, config_of(), resume=True)
    assert_same_run(whole, folder)


def test_killed_twice_and_resumed_is_still_the_same_run(whole, tmp_path):
    folder = tmp_path / "run"
    run(folder, config_of(), 200)
    run(folder, config_of(), 150, resume=True)
    run(folder, config_of(), resume=True)
    assert_same_run(whole, folder)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_after_its_last_checkpoint(tmp_path, seed):
    """Nothing is left to do; what was saved is not saved again, a bit different."""
    config = config_of("run.minutes=0.05", f"run.seed={seed}", "terrain=mattress")
    run(tmp_path / "run", config)
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    (tmp_path / "run" / "summary.json").unlink()
    run(tmp_path / "run", config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("terrain", ["mattress", "doormat"])
def test_resume_is_exact_on_other_terrains(tmp_path, terrain):
    config = config_of(f"terrain={terrain}", "run.minutes=0.1")
    run(tmp_path / "whole", config)
    run(tmp_path / "killed", config, 200)
    run(tmp_path / "killed", config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("after_fall", ["ignored", "counted"])
def test_the_replay_is_rebuilt_bit_by_bit(tmp_path, after_fall):
    frail = ["episode.fall_pitch_rad=0.1", "constraint.pitch_limit_rad=0.02"]
    config = config_of(*frail, f"constraint.after_fall={after_fall}")
    rig = make_twin(config, 0)
    with RunFolder.create(tmp_path / "run", config) as folder:
        loop = Trainer(config, folder, Silent(), GO, rig)
        assert loop.run()["falls"] > 0
    lost = loop._learner.replay.state_dict()
    again = make_learner(config)
    records = read_journal(tmp_path / "run" / "journal").records
    assert refill(again.add, records, config) == len(lost["task"])
    for name, value in again.replay.state_dict().items():
        np.testing.assert_array_equal(value, lost[name])


def test_transitions_for_other_histories_and_tasks(whole):
    config = config_of()
    records = read_journal(whole / "journal").records
    short = list(transitions(records, config, frames=2))
    long = list(transitions(records, config, frames=6))
    assert len(short) == len(long) > 100
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a.next_observation, b.next_observation[-42:])
    other = config.model_copy(update={"tasks": ("forward", "backward", "left", "right")})
    for a, b in zip(long, transitions(records, other), strict=True):
        assert b.rewards.shape == (4,)
        np.testing.assert_array_equal(a.rewards, b.rewards[:2])


def test_a_lost_record_takes_only_the_rest_of_its_episode(whole):
    config = config_of()
    records = read_journal(whole / "journal").records
    steps = list(transitions(records, config))
    lost = steps[10].index
    left = list(transitions(records[records["index"] != lost], config))
    kept = {t.index for t in left}
    episode = {
        int(r["index"])
        for r in records
        if r["episode"] == records[records["index"] == lost][0]["episode"]
    }
    assert {t.index for t in steps} - kept == {i for i in episode if i >= lost} & {
        t.index for t in steps
    }


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_damaged_checkpoint_falls_back_loudly(whole, tmp_path):
    folder = tmp_path / "run"
    run(folder, config_of(), 440)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert len(names) == 3  # kept of more
    damage(folder / "checkpoints" / names[-1] / "learner.safetensors")
    view = run(folder, config_of(), resume=True)
    assert any("ALARM" in text and names[-1] in text for text in view.messages)
    assert_same_run(whole, folder)


def test_nothing_valid_is_an_error_and_never_a_fresh_start(tmp_path):
    folder = tmp_path / "run"
    run(folder, config_of(), 100)
    for path in (folder / "checkpoints").iterdir():
        damage(path / "state.json")
    before = sorted((folder / "journal").iterdir())
    with RunFolder.resume(folder) as resumed, pytest.raises(CheckpointInvalid, match="new run"):
        learn(config_of(), resumed, Silent(), GO, resume=True)
    assert sorted((folder / "journal").iterdir()) == before
    shutil.rmtree(folder / "checkpoints")
    with (
        RunFolder.resume(folder) as resumed,
        pytest.raises(CheckpointInvalid, match="no checkpoint"),
    ):
        learn(config_of(), resumed, Silent(), GO, resume=True)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    folder = tmp_path / "run"
    run(folder, config_of(), 100)
    other = config_of("learning.hidden_sizes=[8, 8]")
    with RunFolder.resume(folder) as resumed, pytest.raises(CheckpointInvalid):
        learn(other, resumed, Silent(), GO, resume=True)


# What an episode or a stand-up begins anew, or what only shows: not part of a checkpoint.
ANEW = {
    "path": "the filter starts at the measured posture of every episode",
    "actuator": "the limiter starts at the measured posture of every behaviour",
    "observer": "frames start anew with every episode",
    "_cycle": "state, pose and behaviour start anew with every behaviour",
    "_script": "the stand-up starts anew; its generator is the resetter's",
    "_noise": "drawn at the start of an episode",
    "_index": "0 at the start of an episode",
    "_task": "chosen before every episode",
    "_activity": "shown only",
    "_next_view_s": "wall time, shown only",
    "_run_time": "wall and processor time",
    "_resumed": "whether it was",
    "_saved_at": "of the newest checkpoint on the disk",
    "_disk": "what the disk does now",
    "_recorder": "its length is compared by the journal itself",
    "_run": "the folder",
    "_view": "shown only",
    "trace": "when it did what, shown only",
    "_stop": "signals",
    "_checkpoints": "the folder",
    "_client": "number of PyBullet's connection",
    "_model": "compared by its state_dict below",
    "_history": "compared by the twin's state_dict below",
    "_buffers": "scratch memory of the replay",
    "_job": "addresses of tensors that are compared by their own names, and of gradients",
    "_args": "addresses of tensors that are compared by their own names, and of gradients",
    "_batch_buffers": "scratch memory of the fast learner",
    "_gradient": "overwritten by every update",
    "gradients": "overwritten by every update",
    "_actor_gradient": "overwritten by every update",
    "_jobs": "addresses of tensors that are compared elsewhere",
    "_scratch": "scratch memory of the kernels",
    "_newest": "of the last update, shown only",
    "_last": "of the last update, shown only",
    "_input": "scratch memory of a policy",
    "_outputs": "scratch memory of a policy",
}


def state_of(value, path, out, seen):
    """Flattens everything that hangs on an object: path -> plain value."""
    plain = plain_of(value)
    if plain is not None:
        out[path] = plain
    elif isinstance(value, (list, tuple, deque, set, frozenset)):
        for i, inner in enumerate(value):
            state_of(inner, f"{path}[{i}]", out, seen)
    elif isinstance(value, dict):
        for key, inner in value.items():
            state_of(inner, f"{path}[{key!r}]", out, seen)
    elif id(value) not in seen and type(value).__module__.startswith("walkhome."):
        seen.add(id(value))
        for name in attributes_of(value):
            if name not in ANEW:
                state_of(getattr(value, name), f"{path}.{name}", out, seen)
    elif type(value).__module__.startswith("torch") and hasattr(value, "state_dict"):
        state_of(value.state_dict(), path, out, seen)


def plain_of(value):
    """What a leaf is compared by; None for what has parts."""
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, torch.Tensor):
        return (
            value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            if value.ndim
            else repr(value.item())
        )
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, Replay):
        return b"".join(np.asarray(v).tobytes() for v in value.state_dict().values())
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if value is None or isinstance(value, (str, bytes, int, float, bool, enum.Enum, slice)):
        return repr(value)
    return None


def attributes_of(value):
    slots = [s for c in type(value).__mro__ for s in getattr(c, "__slots__", ())]
    names = {*getattr(value, "__dict__", {}), *(s for s in slots if hasattr(value, s))}
    return sorted(
        name
        for name in names
        if not isinstance(getattr(value, name), (MethodType, type, threading.Thread))
    )


def test_nothing_that_evolves_is_forgotten(tmp_path):
    """Walks every object of the loop: a new stateful part that no checkpoint holds fails here."""
    config = config_of("run.checkpoint_every_s=1000")  # only the first and the last
    rig = make_twin(config, 0)
    with RunFolder.create(tmp_path / "run", config) as folder:
        loop = Trainer(config, folder, Silent(), GO, rig)
        loop._routine._rng.random(3)  # a short run may never have drawn from it
        loop.run()  # ends with a checkpoint
        mine = {}
        state_of(loop, "loop", mine, set())
    with RunFolder.resume(tmp_path / "run") as folder:
        again = Trainer(config, folder, Silent(), GO, make_twin(config, 0), resume=True)
        resumed = {}
        state_of(again, "loop", resumed, set())
        assert again._learner is not loop._learner
        again._recorder.close()
        again._plant.robot.close()
    differing = sorted(k for k in mine.keys() | resumed.keys() if mine.get(k) != resumed.get(k))
    assert differing == []
    assert sum("_rng" in key or "generator" in key for key in mine) >= 4
    assert any("_hot_s" in key for key in mine)  # it looked into the twin


def test_the_walk_sees_a_forgotten_part():
    """The test above can fail: a learner with one more counter is not the same."""
    config = config_of()
    first, second = make_learner(config), make_learner(config)
    assert isinstance(first, Learner)
    first.new_counter, second.new_counter = 1, 2
    states = {}, {}
    for learner, state in zip((first, second), states, strict=True):
        state_of(learner, "learner", state, set())
    assert [k for k in states[0] if states[0][k] != states[1][k]] == ["learner.new_counter"]


def test_more_minutes_go_on_from_the_end(tmp_path):
    folder = tmp_path / "run"
    run(folder, config_of("run.minutes=0.1"))
    before = read_journal(folder / "journal").records
    with RunFolder.resume(folder, minutes=0.2) as resumed:
        assert resumed.config.run.minutes == 0.2
        summary = learn(resumed.config, resumed, Silent(), GO, resume=True)
    assert summary["robot_minutes"]["total"] >= 0.2
    records = read_journal(folder / "journal").records
    np.testing.assert_array_equal(records[: len(before)], before)
    assert len(records) > len(before)

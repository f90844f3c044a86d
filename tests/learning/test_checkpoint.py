# SPDX-License-Identifier: MIT
from __future__ import annotations

import json

import numpy as np
import pytest

from walkhome.learning import checkpoint
from walkhome.learning.checkpoint import CheckpointInvalid, load, save

TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.scalar": np.array(1.5, np.float32),
    "lambda": np.array([0.1, 2.0]),
    "generator": np.arange(7, dtype=np.uint8),
    "updates": np.array(12, np.int64),
    "empty": np.zeros((0, 2), np.float32),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}
SCALARS = {"rng": {"state": 2**127 + 1}, "turn": 1, "tasks": ["forward"]}


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    folder = save(tmp_path / "new" / "000100", TENSORS, SCALARS, {"policy.safetensors": b"p"})
    tensors, scalars = load(folder)
    assert scalars == SCALARS
    assert set(tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(tensors[name], array)
    assert sorted(p.name for p in folder.iterdir()) == [
        "learner.safetensors",
        "manifest.json",
        "policy.safetensors",
        "state.json",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["000100"], "nothing temporary is left"


def means_the_same(one: bytes, other: bytes) -> bool:
    """True if two JSON texts differ in white space only."""
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.parametrize(
    "name", ["learner.safetensors", "state.json", "policy.safetensors", "manifest.json"]
)
def test_every_damage_to_every_file_is_noticed(tmp_path, name):
    folder = save(tmp_path / "c", TENSORS, SCALARS, {"policy.safetensors": b"policy"})
    path = folder / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damages = [whole[:-1], b"", whole[: len(whole) // 2]]
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[rng.integers(0, len(whole))] ^= 1 << int(rng.integers(0, 7))
        damages.append(bytes(damaged))
    harmless = 0
    for damaged in damages:
        path.write_bytes(damaged)
        if name == "manifest.json" and means_the_same(damaged, whole):
            harmless += 1
            load(folder)
            continue
        with pytest.raises(CheckpointInvalid) as error:
            load(folder)
        assert str(folder) in str(error.value)
        assert ";" in str(error.value), "what to do next"
    assert harmless <= 8
    path.unlink()
    with pytest.raises(CheckpointInvalid, match=name):
        load(folder)
    path.write_bytes(whole)
    load(folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, bad, monkeypatch):
    broken = {**TENSORS, "lambda": np.array([0.0, bad])}
    with pytest.raises(CheckpointInvalid, match="lambda is not finite"):
        save(tmp_path / "c", broken, SCALARS)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "isfinite", lambda a: np.ones(np.shape(a), bool))
        save(tmp_path / "c", broken, SCALARS)
    with pytest.raises(CheckpointInvalid, match="lambda is not finite"):
        load(tmp_path / "c")
    with pytest.raises(ValueError):
        save(tmp_path / "d", TENSORS, {"alpha": bad})
    assert not (tmp_path / "d").exists()


def test_an_existing_checkpoint_is_never_overwritten(tmp_path):
    folder = save(tmp_path / "c", TENSORS, {"n": 1})
    with pytest.raises(CheckpointInvalid, match="exists"):
        save(folder, TENSORS, {"n": 2})
    assert load(folder)[1] == {"n": 1}


def test_a_crash_at_any_write_leaves_no_checkpoint_and_the_next_try_succeeds(tmp_path, monkeypatch):
    real, calls = checkpoint.os.fsync, {"left": 0}

    def failing(descriptor):
        if calls["left"] == 0:
            raise OSError("disk full")
        calls["left"] -= 1
        real(descriptor)

    for before_crash in range(4):  # three files, then the temporary folder
        calls["left"] = before_crash
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.os, "fsync", failing)
            with pytest.raises(OSError, match="disk full"):
                save(tmp_path / "c", TENSORS, SCALARS)
        assert not (tmp_path / "c").exists()
    save(tmp_path / "c", TENSORS, SCALARS)
    assert load(tmp_path / "c")[1] == SCALARS
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_manifest_that_points_elsewhere_or_is_of_another_format_is_refused(tmp_path):
    folder = save(tmp_path / "c", TENSORS, SCALARS)
    manifest = json.loads((folder / "manifest.json").read_text())
    other = {**manifest, "files": {**manifest["files"], "../x": {"bytes": 0, "sha256": ""}}}
    (folder / "manifest.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointInvalid, match="outside"):
        load(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(CheckpointInvalid, match="format 99"):
        load(folder)
    del manifest["files"]["state.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointInvalid, match=r"state\.json"):
        load(folder)


def test_nothing_there_says_so(tmp_path):
    with pytest.raises(CheckpointInvalid, match="nothing"):
        load(tmp_path / "nothing")

# SPDX-License-Identifier: MIT
"""A crash between every pair of file-system calls of a save; every kind of byte flipped once."""

import os
import shutil
import sys

import numpy as np
import pytest

from walkhome.learning.checkpoint import CheckpointInvalid
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.storage.checkpoints import Checkpoints
from walkhome.robot.storage.journal import RECORD, JournalError, header_bytes, read_journal
from walkhome.robot.storage.journal_writer import JournalWriter
from walkhome.robot.storage.run_folder import RunFolder

FILE_CALLS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


class Crash(BaseException):
    """The power is gone: nothing after this call happens."""


class Shim:
    """Counts file-system calls by Python's audit events (and fsync), and crashes at one."""

    def __init__(self):
        self.active, self.left, self.count = False, -1, 0
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if self.active and event in FILE_CALLS:
            self.tick()

    def tick(self):
        self.count += 1
        if self.left == 0:
            raise Crash
        self.left -= 1

    def run(self, call, crash_at, monkeypatch):
        """Whether the call came to its end."""
        fsync = os.fsync

        def counted(descriptor):
            self.tick()
            fsync(descriptor)

        self.left, self.count = crash_at, 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", counted)
            self.active = True
            try:
                call()
            except Crash:
                return False
            finally:
                self.active = False
        return True


SHIM = Shim()


def state(value):
    tensors = {"weights": np.full((3, 4), value, np.float32), "step": np.array([value])}
    return tensors, {"value": value}, {"policy.safetensors": bytes([value]) * 100}


def save(run, value):
    Checkpoints(run).save(value, *state(value), best=value % 2 == 0)


def loaded(run):
    """The value of the checkpoint that a resume would use."""
    used = []
    checkpoints = Checkpoints(run)
    checkpoints.clean()
    checkpoint = checkpoints.load(used.append, lambda text: pytest.fail(f"damaged: {text}"))
    assert used == [checkpoint]
    value = checkpoint.scalars["value"]
    np.testing.assert_array_equal(checkpoint.tensors["weights"], np.full((3, 4), value))
    return value


def test_a_crash_between_any_two_calls_of_a_save_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    config = resolve_config().config
    template = tmp_path / "template"
    with RunFolder.create(template, config) as run:
        for value in range(5):
            save(run, value)
    crash_at, seen = 0, []
    while True:
        folder = tmp_path / f"crash-{crash_at}"
        shutil.copytree(template, folder)
        run = RunFolder.open(folder)
        finished = SHIM.run(lambda run=run: save(run, 5), crash_at, monkeypatch)
        seen.append(loaded(run))
        save(run, 6)  # and the next one works as if nothing had been
        assert loaded(run) == 6
        names = [p.name for p in (folder / "checkpoints").iterdir()]
        assert len([n for n in names if n.isdigit()]) <= 4
        if finished:
            break
        crash_at += 1
    assert set(seen) == {4, 5}
    assert seen == sorted(seen)
    assert crash_at > 20  # there are that many calls, and each was crashed before


def test_the_last_three_and_the_best_are_kept(tmp_path):
    with RunFolder.create(tmp_path / "run", resolve_config().config) as run:
        for value in range(9):
            Checkpoints(run).save(value, *state(value), best=value == 2)
        names = sorted(path.name for path in run.checkpoints.iterdir())
        assert names == [f"{value:09d}" for value in (2, 6, 7, 8)]
        assert (run.path / "latest").read_text().strip() == "000000008"
        assert (run.path / "best").read_text().strip() == "000000002"


@pytest.mark.parametrize(
    "name", ["manifest.json", "state.json", "learner.safetensors", "policy.safetensors"]
)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_any_byte_of_a_checkpoint_flipped_is_seen(tmp_path, name, place):
    with RunFolder.create(tmp_path / "run", resolve_config().config) as run:
        save(run, 1)
        save(run, 2)
        path = run.checkpoints / "000000002" / name
        data = bytearray(path.read_bytes())
        index = min(int(place * len(data)), len(data) - 1)
        data[index] ^= 0x10
        path.write_bytes(data)
        warnings = []
        checkpoint = Checkpoints(run).load(lambda checkpoint: None, warnings.append)
        assert checkpoint.scalars["value"] == 1
        assert len(warnings) == 1
        assert "000000002" in warnings[0]
        path.unlink()
        assert Checkpoints(run).load(lambda c: None, warnings.append).scalars["value"] == 1


def test_no_checkpoint_at_all_says_what_to_do(tmp_path):
    with (
        RunFolder.create(tmp_path / "run", resolve_config().config) as run,
        pytest.raises(CheckpointInvalid, match=r"no checkpoint.*start a new run"),
    ):
        Checkpoints(run).load(lambda checkpoint: None, pytest.fail)


PREFIX = len(header_bytes(0))


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (0, "magic"),
        (10, "length of the header"),
        (12, "CRC of the header"),
        (40, "header"),
        (PREFIX, "a record's index"),
        (PREFIX + 200, "a record's payload"),
        (PREFIX + RECORD.itemsize + 1, "a record's CRC"),
    ],
)
def test_any_byte_of_a_journal_flipped_is_seen(tmp_path, place, kind):
    empty = {name: np.zeros(RECORD[name].shape) for name in RECORD.names if name != "index"}
    with JournalWriter(tmp_path) as writer:
        for _ in range(5):
            writer.append(**empty)
    path = tmp_path / "000000.bin"
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    if place >= PREFIX:
        assert read_journal(tmp_path).records["index"].tolist() == [1, 2, 3, 4], kind
        return
    if kind == "length of the header":  # reaches beyond the file: as one that was being started
        assert len(read_journal(tmp_path).records) == 0
        return
    with pytest.raises(JournalError) as refused:
        read_journal(tmp_path)
    assert str(path) in str(refused.value)

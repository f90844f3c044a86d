# SPDX-License-Identifier: MIT
"""Atomic writes: the old content or the new one, and no temporary file is left."""

import os

import pytest

from walkhome.durable_files import create_file, write_atomically


def test_write_atomically_replaces_the_content_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "state"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_temporary_file_of_a_killed_process_is_replaced(tmp_path):
    (tmp_path / f".state.{os.getpid()}.tmp").write_bytes(b"half")
    write_atomically(tmp_path / "state", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state").read_bytes() == b"whole"


def test_the_file_is_synced_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    calls = []
    fsync = os.fsync

    def note(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        assert (tmp_path / "state").exists() == (len(calls) == 2)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(tmp_path / "state", b"data")
    assert calls == [str(tmp_path / f".state.{os.getpid()}.tmp"), str(tmp_path)]


def test_create_file_does_not_overwrite(tmp_path):
    create_file(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"

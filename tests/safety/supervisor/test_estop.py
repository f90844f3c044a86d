# SPDX-License-Identifier: MIT
"""The latch: once pressed it stays pressed, until a person clears it."""

import subprocess
import sys

import pytest

from walkhome.safety.supervisor import estop


def test_pressed_read_and_cleared(tmp_path):
    folder = tmp_path / "state"
    assert estop.read(folder) is None
    assert not estop.pressed(estop.latch_path(folder))
    estop.press("first", folder)
    estop.press("second", folder)
    assert estop.pressed(estop.latch_path(folder))
    assert estop.read(folder).reason == "first"
    assert sorted(p.name for p in folder.iterdir()) == ["estop.json"]
    assert estop.clear(folder).reason == "first"
    assert estop.clear(folder) is None
    assert not estop.pressed(estop.latch_path(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"reason": 1}', b"\xff\xfe"])
def test_a_damaged_latch_is_pressed(tmp_path, content):
    path = estop.press("x", tmp_path)
    path.write_bytes(content)
    assert estop.pressed(path)
    assert "counts as pressed" in estop.read(tmp_path).reason
    assert estop.clear(tmp_path) is not None
    assert not estop.pressed(path)


def test_what_can_not_be_looked_at_is_pressed(tmp_path):
    (tmp_path / "state").write_text("a file where a folder should be")
    assert estop.pressed(estop.latch_path(tmp_path / "state"))
    with pytest.raises(OSError):
        estop.press("x", tmp_path / "state")


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert estop.latch_path() == tmp_path / "walkhome" / "estop.json"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert estop.latch_path() == tmp_path / ".local/state/walkhome/estop.json"


def robot(*arguments):
    command = [sys.executable, "-m", "walkhome.robot.cli", "estop", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_from_a_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert robot("--status").stdout == "not pressed\n"
    done = robot()
    assert done.returncode == 0
    assert "--clear" in done.stdout
    assert estop.read().reason == "robot estop"
    assert robot("--status").stdout.startswith("pressed: robot estop")
    assert "cleared" in robot("--clear").stdout
    assert estop.read() is None
    assert robot("--clear", "--status").returncode == 2
    (tmp_path / "walkhome").rmdir()
    (tmp_path / "walkhome").write_text("")
    done = robot()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "take the robot's power" in done.stderr

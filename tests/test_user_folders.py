# SPDX-License-Identifier: MIT
"""The user's folders are where they have always been, so that nothing in them is lost."""

from pathlib import Path

import pytest

from walkhome import user_folders
from walkhome.robot.board.calibration import calibration_path
from walkhome.safety.supervisor import estop

FOLDERS = {
    "XDG_CONFIG_HOME": (user_folders.config_folder, ".config"),
    "XDG_STATE_HOME": (user_folders.state_folder, ".local/state"),
    "XDG_CACHE_HOME": (user_folders.cache_folder, ".cache"),
}


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_folder_is_where_its_variable_says_or_below_home(variable, tmp_path, monkeypatch):
    folder, below_home = FOLDERS[variable]
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder() == tmp_path / "walkhome"
    monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / below_home / "walkhome"


def test_a_relative_path_counts_as_unset(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert user_folders.state_folder() == tmp_path / ".local" / "state" / "walkhome"


def test_an_emergency_stop_pressed_before_is_honoured(tmp_path, monkeypatch):
    """The latch as version 0.1.0 wrote it, at the path where it wrote it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    latch = tmp_path / "walkhome" / "estop.json"
    latch.parent.mkdir()
    latch.write_text(
        '{"reason": "a hand was in the legs", "process": 1, "wall_time": "2026-11-27T06:00:00Z"}'
    )
    assert estop.latch_path() == latch
    assert estop.pressed(latch)
    assert estop.read().reason == "a hand was in the legs"


def test_a_calibration_of_before_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert calibration_path("minitaur 7") == tmp_path / "walkhome/robots/minitaur_7.yaml"


def test_without_a_runtime_folder_there_is_one_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(user_folders.tempfile, "gettempdir", lambda: str(tmp_path))
    for value in ("", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        folder = user_folders.runtime_folder()
        assert folder.parent == Path(tmp_path)
        assert folder.stat().st_mode & 0o077 == 0

# SPDX-License-Identifier: MIT
"""The user learns that `robot` is another program's, and bare package names are refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from walkhome.robot.cli.command_name import note_on_command

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def script(path, text):
    path.write_text(f"#!/usr/bin/env python\n{text}\n")
    path.chmod(0o755)


OURS = "from walkhome.robot.cli.app import main"
THEIRS = "from robot import run_cli"


def test_there_is_no_note_while_robot_is_ours(bin_folder):
    script(bin_folder / "robot", OURS)
    script(bin_folder / "walkhome", OURS)
    assert note_on_command("/x/bin/walkhome") == ""


def test_another_programs_robot_is_named(bin_folder):
    script(bin_folder / "robot", THEIRS)
    script(bin_folder / "walkhome", OURS)
    for typed in ("/x/bin/walkhome", "/x/robot/cli/__main__.py"):
        note = note_on_command(typed)
        assert str(bin_folder / "robot") in note
        assert note.endswith("type `walkhome`")
    assert note_on_command("/y/bin/robot") == ""  # ours, started by its path


def test_a_missing_robot_is_told_only_where_walkhome_is_installed(bin_folder):
    assert note_on_command("-m") == ""
    script(bin_folder / "walkhome", OURS)
    assert "no command `robot`" in note_on_command("walkhome")


@pytest.mark.parametrize("name", ["robot", "safety", "learning", "hardware", "sim", "native"])
def test_a_bare_package_name_is_refused_with_the_right_one(name):
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: ")
    assert f"this package is walkhome.{name}" in done.stderr


def test_the_module_can_be_started_by_its_full_name_only():
    command = [sys.executable, "-m", "walkhome.robot.cli", "config", "show", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "Usage: python -m walkhome.robot.cli config show" in done.stdout
    command[2] = "robot.cli"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "python -m walkhome.robot.cli" in done.stderr

# SPDX-License-Identifier: MIT
"""Arrows between packages only point down, and nothing loads pickles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("robot", "sim", "learning", "safety", "hardware", "native")


def lint_imports(config):
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", config],
        cwd=config.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_arrow_points_up():
    done = lint_imports(REPOSITORY / "pyproject.toml")
    assert done.returncode == 0, done.stdout


def make_skeleton(folder):
    """Empty packages and rooms as the contracts name them, and the contracts."""
    rooms = [f"robot/{path.parent.name}" for path in (REPOSITORY / "robot").glob("*/__init__.py")]
    for package in (".", *PACKAGES, *rooms):
        (folder / "walkhome" / package).mkdir()
        (folder / "walkhome" / package / "__init__.py").write_text("")
    for module in (
        "durable_files",
        "named_lock",
        "user_folders",
        "robot/gym_env",
        "robot/exit_codes",
    ):
        (folder / "walkhome" / f"{module}.py").write_text("")
    (folder / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    ("package", "imported"), [("learning", "hardware"), ("robot/control", "robot.training")]
)
def test_an_arrow_that_points_up_is_found(tmp_path, package, imported):
    make_skeleton(tmp_path)
    assert lint_imports(tmp_path / "pyproject.toml").returncode == 0
    bad = tmp_path / "walkhome" / package / "bad.py"
    bad.write_text(f"import walkhome.{imported}\n")
    done = lint_imports(tmp_path / "pyproject.toml")
    assert done.returncode != 0
    module = package.replace("/", ".")
    assert f"walkhome.{module}.bad -> walkhome.{imported}" in done.stdout


def test_nothing_that_executes_what_it_loads():
    calls = re.compile(r"\bimport pickle|\btorch\.load\(|\bnp\.load\(|shell=True|yaml\.unsafe_load")
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            assert not calls.findall(path.read_text()), path

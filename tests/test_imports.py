# SPDX-License-Identifier: MIT
"""Arrows between packages only point down, and nothing loads pickles."""

import re
import subprocess
import sys
from pathlib import Path

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


def test_an_arrow_that_points_up_is_found(tmp_path):
    for package in (".", *PACKAGES):
        folder = tmp_path / "walkhome" / package
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (tmp_path / "walkhome" / "durable_files.py").write_text("")
    (tmp_path / "walkhome" / "learning" / "bad.py").write_text("import walkhome.hardware\n")
    text = (REPOSITORY / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text)
    done = lint_imports(tmp_path / "pyproject.toml")
    assert done.returncode != 0
    assert "walkhome.learning.bad -> walkhome.hardware" in done.stdout


def test_nothing_that_executes_what_it_loads():
    calls = re.compile(r"\bimport pickle|\btorch\.load\(|\bnp\.load\(|shell=True|yaml\.unsafe_load")
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            assert not calls.findall(path.read_text()), path

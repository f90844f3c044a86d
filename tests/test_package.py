# SPDX-License-Identifier: MIT
"""Installed as a wheel elsewhere and started from another folder, it works the same."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(command, cwd, **kwargs):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """The command `robot` of an environment that holds our wheel, and this one's libraries."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignore = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=ignore)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", place, source], place)
    run([sys.executable, "-m", "venv", "--without-pip", place / "env"], place)
    python = place / "env" / "bin" / "python"
    site = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place)
    Path(site.strip(), "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    [wheel] = place.glob("*.whl")
    run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet",
         "--force-reinstall", "--no-index", wheel],
        place,
    )  # fmt: skip
    where = run(
        [python, "-c", "import walkhome.configs, walkhome.robot; print(walkhome.robot.__file__)"],
        place,
    )
    assert str(place) in where, "the wheel's package must be the one that is imported"
    return place / "env" / "bin" / "robot"


@pytest.mark.timeout(600)
def test_robot_learn_works_from_another_folder(robot, tmp_path):
    for terrain in ("flat", "mattress", "doormat"):
        shown = run([robot, "config", "show", "--set", f"terrain={terrain}"], tmp_path)
        assert terrain in shown
    assert "safety: " in run([robot, "ablate", "list"], tmp_path)
    learn = [robot, "learn", "--terrain", "flat", "--minutes", "0.1", "--json"]
    small = ["--set", "learning.batch_size=16", "--set", "learning.random_steps=100"]
    run([*learn, *small, "--run-dir", "first"], tmp_path)
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["gradient_steps"] > 0
    answer = run([robot, "eval", "first", "--json", "--episodes", "1", "--seconds", "1"], tmp_path)
    assert set(json.loads(answer.strip().splitlines()[-1])["tasks"]) == {"forward", "backward"}

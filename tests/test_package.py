# SPDX-License-Identifier: MIT
"""Installed as a wheel elsewhere and started from another folder, it works the same."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
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


def install(python, wheel):
    run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet",
         "--force-reinstall", "--no-index", wheel],
        wheel.parent,
    )  # fmt: skip


def make_environment(place):
    """A virtual environment with this one's libraries; its Python."""
    run([sys.executable, "-m", "venv", "--without-pip", place], place.parent)
    python = place / "bin" / "python"
    site = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place)
    Path(site.strip(), "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Our wheel, built from a copy of the sources."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignore = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=ignore)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", place, source], place)
    [built] = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def robot(wheel):
    """The command `robot` of an environment that holds our wheel, and this one's libraries."""
    place = wheel.parent
    python = make_environment(place / "env")
    install(python, wheel)
    where = run(
        [python, "-c", "import walkhome.configs, walkhome.robot; print(walkhome.robot.__file__)"],
        place,
    )
    assert str(place) in where, "the wheel's package must be the one that is imported"
    return place / "env" / "bin" / "robot"


@pytest.fixture(scope="module")
def framework(tmp_path_factory):
    """A wheel that claims what Robot Framework's claims: the package and the command `robot`."""
    path = tmp_path_factory.mktemp("other") / "robotframework-7.5-py3-none-any.whl"
    info = "robotframework-7.5.dist-info"
    members = {
        "robot/__init__.py": "def run_cli():\n    print('Robot Framework')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: robotframework\nVersion: 7.5\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nrobot = robot:run_cli\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
        record = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


def said(command, environment):
    """What a command of the environment prints on standard output and standard error."""
    done = subprocess.run(
        [environment / "bin" / command, "--version"],
        env={**os.environ, "PATH": f"{environment / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ours_last", [False, True])
def test_robot_framework_in_the_same_environment(tmp_path, wheel, framework, ours_last):
    place = tmp_path / "env"
    python = make_environment(place)
    for each in (framework, wheel) if ours_last else (wheel, framework):
        install(python, each)
    ours, note = said("walkhome", place)
    assert ours.startswith("walkhome ")
    packages = "import robot, walkhome.robot; print(robot.run_cli, walkhome.robot.__file__)"
    assert "walkhome/robot/__init__.py" in run([python, "-c", packages], tmp_path)
    if ours_last:
        assert (note, said("robot", place)) == ("", (ours, ""))
    else:
        assert said("robot", place)[0] == "Robot Framework"
        assert "(robotframework 7.5)" in note
        assert note.endswith("type `walkhome`")
        assert "\n" not in note


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

# SPDX-License-Identifier: MIT
"""One source commands at a time."""

import os
import signal
import subprocess
import sys

import pytest

from walkhome.hardware.robot import RobotError
from walkhome.safety.lease import Lease, LeaseTaken, runtime_folder

HOLDER = """
import sys, time
from pathlib import Path
from walkhome.safety.lease import Lease
lease = Lease.take("ours", "a test", Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(60)
"""


def test_the_second_is_refused_and_told_who(tmp_path):
    with_it = Lease.take("ours", "robot learn", tmp_path)
    with pytest.raises(LeaseTaken, match=f"process {os.getpid()} \\(robot learn\\)"):
        Lease.take("ours", "robot teleop", tmp_path)
    Lease.take("another", "robot teleop", tmp_path).release()
    with_it.release()
    with_it.release()
    assert Lease.take("ours", "robot teleop", tmp_path).stale == ""


def test_a_killed_holder_leaves_nothing_but_its_name(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "taken\n"
        with pytest.raises(LeaseTaken, match=f"process {process.pid} "):
            Lease.take("ours", "robot learn", tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lease = Lease.take("ours", "robot learn", tmp_path)
    assert lease.stale == f"process {process.pid} (a test)"
    lease.release()


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a b\n", "x" * 16])
def test_no_name_gets_out_of_the_folder(tmp_path, name):
    lease = Lease.take(name, "a test", tmp_path)
    assert lease.path.parent == tmp_path
    lease.release()


def test_the_folder_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder() == tmp_path / "walkhome"
    assert runtime_folder().stat().st_mode & 0o077 == 0
    runtime_folder().rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "walkhome").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RobotError, match="remove it"):
        runtime_folder()

# SPDX-License-Identifier: MIT
"""Processes that die while a robot learns on an emulated board, as the board's log shows it.

Board, control, learner and supervisor are separate processes. The tests check that the torque ends,
which process ended it, and that it does not come back. `benchmarks/realtime.py` measures the
milliseconds.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from walkhome.robot.cli.app import app
from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.manager import estop_reason

pytestmark = pytest.mark.usefixtures("places")
ROBOT = (sys.executable, "-m", "walkhome.robot.cli")
ESTOPPED = 2  # bit of the board's faults
SOON_S = 20.0


class Log:
    """The board's event log; its times are monotonic times of this machine."""

    def __init__(self, path):
        self.path = path

    def events(self, *kinds, since_s=0.0):
        whole = [x for x in self.path.read_text().splitlines(keepends=True) if x.endswith("\n")]
        lines = [json.loads(line) for line in whole]
        return [e for e in lines if e["event"] in kinds and e["monotonic_s"] >= since_s]

    def torque(self):
        seen = self.events("torque", "limp")
        return bool(seen) and seen[-1]["event"] == "torque"

    def estopped_s(self, since_s):
        for event in self.events("mode", since_s=since_s):
            if event["faults"] & ESTOPPED:
                return event["monotonic_s"]
        return None


def until(what, limit_s=SOON_S):
    end_s = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return found


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def board(places):
    port, log = places / "robot", places / "log.jsonl"
    process = subprocess.Popen(
        [*ROBOT, "emulate", "--link", port, "--log", log], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().startswith("board on")
        yield str(port), Log(log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


class Learning:
    """`robot learn --port` in a process of its own; on entry it waits until the robot moves."""

    def __init__(self, board, run):
        port, self.log = board
        until(lambda: not self.log.torque())
        time.sleep(1.0)  # the robot must lie still to be armed
        command = [*ROBOT, "learn", "--port", port, "--run-dir", run, "--json"]
        # Wide limits: on a busy machine a late command must not look like a dead control process.
        sets = ("board.command_gap_s=0.08", "learning.hidden_sizes=[16, 16]")
        for text in sets:
            command += ["--set", text]
        self._errors = (run.parent / "errors").open("w+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def __enter__(self):
        begin_s, ended = time.monotonic(), self.process.poll
        until(lambda: self.log.events("torque", since_s=begin_s) or ended() is not None, 60.0)
        if self.process.poll() is not None:
            self._errors.seek(0)
            pytest.fail(self._errors.read())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._errors.close()


def release(board):
    port, _ = board
    result = invoke("doctor", "--port", port, "--release", "--seconds", "0.5")
    assert "ESTOP_BOARD" not in result.stdout


def supervisor_of(process):
    """Process id of the supervisor that this process has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (found,) = [
        int(child)
        for child in children
        if b"walkhome.safety.supervisor.process" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_frozen_control_process_is_cut_by_the_supervisor(board, tmp_path, how):
    _, log = board
    with Learning(board, tmp_path / "run") as learning:
        begin_s = time.monotonic()
        learning.process.send_signal(how)
        stopped_s = until(lambda: log.estopped_s(begin_s))
        until(lambda: not log.torque())
        if how == signal.SIGSTOP:
            # It continues, finds that its own supervisor cut, releases that stop, and arms again.
            learning.process.send_signal(signal.SIGCONT)
            until(lambda: log.events("torque", since_s=stopped_s))
            learning.process.send_signal(signal.SIGINT)
            assert learning.process.wait(60) == 130
            until(lambda: not log.torque())
            board_summary = json.loads((tmp_path / "run" / "summary.json").read_text())["board"]
            assert board_summary["supervisor"]["cuts"] >= 1
            return
    time.sleep(0.5)
    assert log.events("torque", since_s=stopped_s) == []
    refused = invoke("learn", "--port", board[0], "--run-dir", tmp_path / "again")
    assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)
    assert "[ESTOP_BOARD]" in refused.stderr
    release(board)


@pytest.mark.timeout(120)
def test_estop_from_another_shell_ends_a_run_and_holds_until_a_person_starts_again(board, tmp_path):
    port, log = board
    with Learning(board, tmp_path / "run") as learning:
        begin_s = time.monotonic()
        subprocess.run([*ROBOT, "estop"], check=True, capture_output=True)
        until(lambda: log.estopped_s(begin_s))
        assert learning.process.wait(60) == 3
        said = [json.loads(line) for line in learning.process.stdout]
    assert any("[ESTOP]" in line.get("text", "") for line in said)
    ended_s = time.monotonic()
    assert not log.torque()
    assert (tmp_path / "run" / "summary.json").is_file()
    for verb in (("learn", "--run-dir", tmp_path / "again"), ("stand-up",)):
        refused = invoke(*verb, "--port", port)
        assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1), refused.output
        assert "[ESTOP] " in refused.stderr
        assert "robot estop --clear" in refused.stderr
    assert not (tmp_path / "again").exists()
    assert invoke("estop", "--clear").exit_code == 0
    release(board)
    assert estop_reason() == ""
    assert log.events("torque", since_s=ended_s) == []  # clearing the stop started nothing
    result = invoke(
        "stand-up", "--port", port, "--seconds", "0", "--set", "board.command_gap_s=0.1"
    )
    assert result.exit_code == 0, result.output
    assert log.events("torque", since_s=ended_s)


@pytest.mark.timeout(120)
def test_a_lost_supervisor_settles_the_robot_and_is_replaced_before_it_is_armed(board, tmp_path):
    _, log = board
    with Learning(board, tmp_path / "run") as learning:
        first = supervisor_of(learning.process)
        begin_s = time.monotonic()
        os.kill(first, signal.SIGKILL)
        limp_s = until(lambda: log.events("limp", since_s=begin_s))[0]["monotonic_s"]
        until(lambda: log.events("torque", since_s=limp_s))
        assert supervisor_of(learning.process) != first
        os.kill(supervisor_of(learning.process), signal.SIGUSR1)  # SIGUSR1: an emergency stop
        assert learning.process.wait(60) == 3
    assert estop.read() is not None
    estop.clear()
    release(board)
    board_summary = json.loads((tmp_path / "run" / "summary.json").read_text())["board"]
    assert board_summary["supervisor"]["lost"] == 1

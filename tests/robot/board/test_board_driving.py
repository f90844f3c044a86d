# SPDX-License-Identifier: MIT
"""`robot teleop` and `robot replay` drive an emulated board that is a process of its own.

Teleop, its supervisor and the board are separate processes. A drive ends by the cable, a signal or
the script; the board's event log shows when there was torque. Time limits are wide here;
`benchmarks/realtime.py` measures the milliseconds.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from bodies import MINITAUR
from learned_run import TASKS, posture_policy
from typer.testing import CliRunner

from walkhome.learning.policy import save_policies
from walkhome.robot.cli.app import app
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.mdp.observation import observation_layout
from walkhome.robot.storage.journal import FLAG_FIRST, FLAG_START, PHASE_EPISODE, RECORD
from walkhome.robot.storage.journal_writer import JournalWriter
from walkhome.robot.storage.policies import policy_metadata
from walkhome.robot.storage.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("places")
ROBOT = (sys.executable, "-m", "walkhome.robot.cli")
ESTOPPED = 2  # bit of the board's faults
# Wide limits: on a busy machine a late command must not look like a dead control process.
SETS = ("--set", "board.command_gap_s=0.1", "--set", "board.silence_s=0.5")
TRIES = 3  # an even busier machine stops the robot, as it should
LIMP_S = 3.0  # 0.1 s of validity, 0.5 s of damping, and a margin for a busy machine
STEPS = 60


@pytest.fixture(scope="module")
def run(places):
    """A run with four posture policies, and a journal of one episode that swings the legs."""
    config = resolve_config(flags={"tasks": list(TASKS)}).config
    made = RunFolder.create(places / "run", config, ["robot", "learn"])
    made.close()
    policies = {}
    for number, task in enumerate(TASKS):
        action = np.zeros(8)
        action[number] = 0.2
        policies[task] = posture_policy(observation_layout(config.control).size, action)
    save_policies(made.path / "policy.safetensors", policies, policy_metadata(config))
    empty = {name: np.zeros(RECORD[name].shape) for name in RECORD.names if name != "index"}
    common = {**empty, "phase": PHASE_EPISODE, "motor_angle": MINITAUR.stance_motor_rad()}
    with JournalWriter(made.journal) as writer:
        writer.append(**{**common, "flags": FLAG_START})
        for step in range(STEPS):
            action = np.zeros(8)
            action[:4] = 0.3 * np.sin(2.0 * np.pi * step / STEPS)
            writer.append(**{**common, "action": action, "flags": FLAG_FIRST * (step == 0)})
    return made.path


class Board:
    """`robot emulate` in a process; the times in its log are monotonic times of this machine."""

    def __init__(self, folder, *arguments):
        self.port, self._log = str(folder / "robot"), folder / "log.jsonl"
        self._process = subprocess.Popen(
            [*ROBOT, "emulate", "--link", self.port, "--log", self._log, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline().startswith("board on")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        self._process.stdout.close()

    def events(self, *kinds, since_s=0.0):
        text = self._log.read_text().splitlines(keepends=True)
        lines = [json.loads(line) for line in text if line.endswith("\n")]
        return [e for e in lines if e["event"] in kinds and e["monotonic_s"] >= since_s]

    def until(self, *kinds, since_s=0.0, limit_s=25.0):
        end_s = time.monotonic() + limit_s
        while not (found := self.events(*kinds, since_s=since_s)):
            assert time.monotonic() < end_s, f"no {kinds}"
            time.sleep(0.02)
        return found[0]["monotonic_s"]

    def release(self):
        CliRunner().invoke(app, ["doctor", "--port", self.port, "--release", "--seconds", "0.5"])

    def check_rests(self):
        """Check that there is no torque now and within the next second."""
        seen = self.events("torque", "limp")
        assert seen[-1]["event"] == "limp"
        time.sleep(1.0)
        assert self.events("torque", since_s=seen[-1]["monotonic_s"]) == []
        assert self.events("mode")[-1]["mode"] == "OFF"


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    with Board(tmp_path_factory.mktemp("board")) as made:
        yield made


class Drive:
    """`robot teleop --script --json` in a process of its own."""

    def __init__(self, run, board, script):
        self.begin_s = time.monotonic()
        command = [*ROBOT, "teleop", run, "--port", board.port, "--script", script, "--json", *SETS]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def walks(self):
        """Read its output until the robot walks; return whether it does."""
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "switch":
                return True
        return False

    def end(self):
        """Read the rest of the output; return the exit code."""
        self.lines += [json.loads(line) for line in self.process.stdout]
        return self.process.wait(20)

    def kinds(self):
        return [line["event"] for line in self.lines if line["event"] != "board"]


@contextlib.contextmanager
def walking(run, board):
    """A drive that has just begun to walk."""
    for _ in range(TRIES):
        with Drive(run, board, "forward 60s") as drive:
            if drive.walks():
                yield drive
                return
            errors = drive.process.stderr.read()
        board.release()
    pytest.fail(f"it never walked: {drive.lines} {errors}")


@pytest.mark.timeout(90)
def test_a_script_drives_the_robot_and_puts_it_down(run, board):
    for _ in range(TRIES):
        with Drive(run, board, "forward 0.6s, stop 0.4s, settle 1s") as drive:
            code = drive.end()
        if "fault" not in drive.kinds():
            break
        board.release()
    assert code == 0, drive.lines
    assert board.until("torque", since_s=drive.begin_s) > drive.begin_s
    board.check_rests()
    kinds = drive.kinds()
    assert kinds == ["stand_up", "stands", "switch", "switch", "settle", "end"]
    assert drive.lines[-1]["driven_s"] == pytest.approx(2.0, abs=0.1)
    assert (drive.lines[-1]["faults"], drive.lines[-1]["settles"]) == (0, 1)


@pytest.mark.timeout(90)
def test_ctrl_c_settles_it(run, board):
    with walking(run, board) as drive:
        stopped_s = time.monotonic()
        drive.process.send_signal(signal.SIGINT)
        assert drive.end() == 130
    modes = [event["mode"] for event in board.events("mode", since_s=stopped_s)]
    assert modes[0] == "DAMP"  # the robot sits down before it goes limp
    assert board.until("limp", since_s=stopped_s) - stopped_s < LIMP_S
    board.check_rests()
    assert not board.events("mode")[-1]["faults"] & ESTOPPED


@pytest.mark.timeout(90)
def test_a_killed_driver_leaves_no_torque(run, board):
    with walking(run, board) as drive:
        killed_s = time.monotonic()
        drive.process.kill()
        drive.process.wait(10)
        assert board.until("limp", since_s=killed_s) - killed_s < LIMP_S
    board.check_rests()
    assert board.events("mode")[-1]["faults"] & ESTOPPED  # by the supervisor, latched
    refused = CliRunner().invoke(
        app, ["teleop", str(run), "--port", board.port, "--script", "forward 1s"]
    )
    assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)
    assert "[ESTOP_BOARD]" in refused.stderr
    board.release()


@pytest.mark.timeout(90)
def test_an_episode_is_replayed_on_the_robot(run, board):
    command = ["replay", str(run), "--episode", "1", "--port", board.port, "--on-robot", *SETS]
    for _ in range(TRIES):
        begin_s = time.monotonic()
        result = CliRunner().invoke(app, command)
        if result.exit_code == 0:
            break
        board.release()
    assert result.exit_code == 0, result.output
    assert "episode 1: forward, 1.2 s, ended by time" in result.stdout
    assert result.stdout.splitlines()[-1] == "it sits down"
    assert board.until("torque", since_s=begin_s)
    board.until("limp", since_s=begin_s)
    board.check_rests()
    assert not board.events("mode")[-1]["faults"] & ESTOPPED


def test_a_robot_that_is_driven_already_is_refused(run, board):
    from walkhome.safety.lease import Lease

    lease = Lease.take("emulated", "robot learn")
    try:
        for more in (["teleop", "--script", "forward 1s"], ["replay", "--on-robot"]):
            refused = CliRunner().invoke(app, [more[0], str(run), "--port", board.port, *more[1:]])
            assert refused.exit_code == 2, refused.output
            assert "robot learn" in refused.stderr
            assert refused.stderr.count("\n") == 1
    finally:
        lease.release()


@pytest.mark.timeout(200)
def test_a_cable_pulled_in_mid_stride_ends_a_script_for_good(run, tmp_path):
    for number in range(TRIES):
        (tmp_path / str(number)).mkdir()
        with Board(tmp_path / str(number), "--fault", "unplug@18:2") as board:
            with walking(run, board) as drive:
                driving_s = time.monotonic()
                pulled_s = board.until("unplugged", since_s=drive.begin_s)
                assert drive.end() == 3
            assert driving_s < pulled_s, "too slow a machine: it was not walking yet"
            limp_s = board.until("limp", since_s=driving_s)
            if limp_s < pulled_s:
                continue  # a busy machine had stopped the robot before the cable was pulled
            assert drive.kinds()[-2:] == ["fault", "end"]
            assert "link lost" in drive.lines[-1]["ended_by"]
            assert limp_s - pulled_s < LIMP_S
            board.until("plugged", since_s=pulled_s)
            board.check_rests()
            return
    pytest.fail("each time the robot was stopped before the cable was pulled")

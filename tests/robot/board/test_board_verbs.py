# SPDX-License-Identifier: MIT
"""The commands for a board, on an emulated one that is a process of its own."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

import pytest
from typer.testing import CliRunner

from walkhome.hardware.serial.link import SerialLink
from walkhome.robot.board.calibration import calibration_path
from walkhome.robot.board.ports import Port, describe
from walkhome.robot.cli.app import app

ROOT = Path(__file__).parents[3]
NOBODY = 65534
EMULATE = (sys.executable, "-m", "walkhome.robot.cli", "emulate")


def start(folder, *arguments):
    """Start an emulated board; return its process, and its port, a link in `folder`."""
    link = folder / "robot"
    process = subprocess.Popen(
        [*EMULATE, "--link", link, "--log", folder / "log.jsonl", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith(f"board on {link}")
    return process, str(link)


def end(process):
    process.send_signal(signal.SIGINT)
    process.wait(10)


@pytest.fixture(autouse=True, scope="module")
def places(tmp_path_factory):
    """A folder for sockets, locks and calibrations of this module alone."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def board(places):
    process, port = start(places)
    yield port
    end(process)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(code, *arguments):
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def events(folder, kind):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_doctor_finds_a_healthy_robot_ready(board):
    result = invoke("doctor", "--port", board, "--seconds", "0.6", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ready"] is True
    assert found["board"]["robot_id"] == "emulated"
    assert found["battery_v"] == pytest.approx(16.0)
    assert found["imu"]["gravity_m_s2"] == pytest.approx(9.81, abs=0.5)
    assert found["timing"]["frames_per_s"] > 10.0
    assert found["timing"]["round_trip"]["count"] >= 5
    assert found["pose"]["ok"] is True
    shown = invoke("doctor", "--port", board, "--seconds", "0.6").stdout
    assert "every check before arming passed" in shown


def test_doctor_lists_ports():
    result = invoke("doctor", "--json")
    assert result.exit_code == 0
    assert isinstance(json.loads(result.stdout)["ports"], list)
    refused(2, "doctor", "--release")


def test_a_dry_run_gives_no_torque(board, places, monkeypatch):
    monkeypatch.setattr("walkhome.robot.board.dry_run.SECONDS", 1.0)
    before = len(events(places, "torque"))
    result = invoke("learn", "--port", board, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ready"] is True
    assert found["commands_not_sent"] > 5
    assert len(events(places, "torque")) == before


def test_it_stands_up_and_sits_down(board, places):
    result = invoke("stand-up", "--port", board, "--seconds", "0.2")
    assert result.exit_code == 0, result.output
    assert "it stands after" in result.stdout
    assert events(places, "torque")


def test_a_port_in_use(board, tmp_path):
    with SerialLink(board):
        assert "in use" in refused(2, "learn", "--port", board, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_robot_that_another_process_commands(board, tmp_path):
    from walkhome.safety.lease import Lease

    lease = Lease.take("emulated", "robot teleop")
    try:
        text = refused(2, "learn", "--port", board, "--run-dir", tmp_path / "run")
    finally:
        lease.release()
    assert "robot teleop" in text
    assert not (tmp_path / "run").exists()


def test_no_pose_source(board, tmp_path):
    text = refused(
        3,
        "learn",
        "--port",
        board,
        "--pose",
        f"unix:{tmp_path / 'pose'}",
        "--run-dir",
        tmp_path / "r",
    )
    assert "[POSE_MISSING]" in text
    assert not (tmp_path / "r").exists()
    assert "is not known" in refused(2, "learn", "--port", board, "--pose", "stars")


def test_no_port(tmp_path):
    for verb in ("learn", "doctor", "stand-up", "calibrate"):
        more = ["--yes"] if verb == "calibrate" else []
        assert "no such port" in refused(2, verb, "--port", tmp_path / "none", *more)
    assert "not a serial port" in refused(2, "learn", "--port", "/dev/null")


def invoke_without_rights(*arguments):
    """Run a command as a user that is not root; return exit code and output."""
    invoke(*arguments)  # loads all modules: the other user may not read them
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            result = invoke(*arguments)
            said = f"{result.output}{result.exception or ''}"
            os.write(writer, json.dumps([os.getuid(), result.exit_code, said]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        uid, code, output = json.load(stream)
    assert uid != 0
    return code, output


def test_no_rights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    master, slave = pty.openpty()
    try:
        os.chmod(os.ttyname(slave), 0)
        port = os.ttyname(slave)
        for verb in ("learn", "doctor", "stand-up"):
            code, output = invoke_without_rights(verb, "--port", port)
            assert (code, output.count("\n")) == (2, 1), output
            assert port in output
            assert "dialout" in output
        tmp_path.chmod(0o700)
        code, output = invoke_without_rights("learn", "--port", port, "--run-dir", tmp_path / "run")
        assert (code, output.count("\n")) == (2, 1), output
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda heard: b"$GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998*62\r\n", "GPS"),
        (lambda heard: heard, "modem"),
        (lambda heard: b"", "no answer"),
    ],
    ids=["gps", "modem", "silence"],
)
def test_another_device_on_the_port_is_named(tmp_path, answer, why):
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    stop = threading.Event()

    def talk():
        while not stop.wait(0.02):
            try:
                heard = os.read(master, 4096)
            except BlockingIOError:
                heard = b""
            os.write(master, answer(heard))

    other = threading.Thread(target=talk)
    other.start()
    try:
        name = os.ttyname(slave)
        assert why in refused(2, "learn", "--port", name, "--run-dir", tmp_path / "run")
    finally:
        stop.set()
        other.join()
        os.close(master)
        os.close(slave)
    assert not (tmp_path / "run").exists()


def test_a_robot_is_calibrated_and_then_stands(tmp_path):
    process, port = start(tmp_path, "--robot-id", "mine", "--uncalibrated", "--start", "jig")
    try:
        assert (
            "[CALIBRATION_MISSING]" in invoke("doctor", "--port", port, "--seconds", "0.5").stdout
        )
        result = CliRunner().invoke(app, ["calibrate", "--port", port], input="y\n")
        assert result.exit_code == 0, result.output
    finally:
        end(process)
    assert calibration_path("mine").is_file()
    process, port = start(tmp_path, "--robot-id", "mine", "--uncalibrated")
    try:
        result = invoke("stand-up", "--port", port, "--seconds", "0")
        assert result.exit_code == 0, result.output
    finally:
        end(process)
    process, port = start(tmp_path, "--robot-id", "mine", "--uncalibrated", "--zero-table", "9")
    try:
        text = refused(3, "learn", "--port", port, "--run-dir", tmp_path / "run")
        assert "[ZERO_TABLE]" in text
        assert events(tmp_path, "torque") == []
    finally:
        end(process)


def test_ctrl_c_settles_saves_and_is_resumed(board, places, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "walkhome.robot.cli",
        "learn",
        "--port",
        board,
        "--run-dir",
        str(run),
    ]
    command += ["--json", "--set", "learning.hidden_sizes=[16, 16]"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        deadline_s = time.monotonic() + 60.0
        while time.monotonic() < deadline_s:  # until the robot has moved
            line = process.stdout.readline()
            if json.loads(line).get("robot_minutes_moving", 0.0) > 0.0:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["board"]["armed"] >= 1
    end_s = time.monotonic() + 5.0
    while events(places, "mode")[-1]["mode"] != "OFF" and time.monotonic() < end_s:
        time.sleep(0.1)
    assert events(places, "mode")[-1]["mode"] == "OFF"
    minutes = summary["robot_minutes"]["total"] + 0.02
    result = invoke("learn", "--resume", run, "--minutes", str(minutes), "--json")
    assert result.exit_code == 0, (
        result.output
    )  # the robot may lie as it fell: it was not switched off since
    again = json.loads((run / "summary.json").read_text())
    assert again["status"] == "done"
    assert again["steps"] >= summary["steps"]


def test_advice_for_a_port(tmp_path):
    port = Port("/dev/ttyUSB0", "/dev/ttyUSB0", "FT232R", False, "dialout", 16, "0403:6001")
    rights, latency = port.advice()
    assert "usermod -aG dialout" in rights
    assert 'ATTRS{idVendor}=="0403"' in rights
    assert 'ATTR{latency_timer}="1"' in latency
    device = tmp_path / "ttyX"
    device.write_text("")
    assert describe(str(device)).advice() == []

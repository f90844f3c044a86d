# SPDX-License-Identifier: MIT
"""The keyboard on a pseudo-terminal: a held key drives, a released key stops."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from walkhome.hardware.robot import Stop
from walkhome.robot.teleop.bindings import TeleopConfig
from walkhome.robot.teleop.driver_input import TeleopError
from walkhome.robot.teleop.keyboard import KeyboardSource


@pytest.fixture
def board():
    """A source, a function that types, the clock as a list, and both ends of the terminal."""
    master, slave = pty.openpty()
    now = [0.0]
    source = KeyboardSource(TeleopConfig(), slave, lambda: now[0])
    assert termios.tcgetattr(slave)[3] & termios.ECHO  # unchanged until the first poll
    source.poll(0.0)

    def press(text):
        os.write(master, text.encode())
        select.select([slave], [], [], 5.0)  # until the text has arrived
        return source.poll(0.0)

    yield source, press, now, (master, slave)
    source.close()
    with contextlib.suppress(OSError):
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize(
    ("keys", "task"),
    [("w", "forward"), ("s", "backward"), ("a", "left"), ("d", "right"), ("h", None),
     ("\x1b[A", "forward"), ("\x1bOB", "backward"), ("\x1b[D", "left"), ("wwwd", "right")],
)  # fmt: skip
def test_keys_choose_the_task(board, keys, task):
    driver_input = board[1](keys)
    assert driver_input.held
    assert driver_input.task == task


def test_a_key_that_stops_repeating_counts_as_released(board):
    source, press, now, _ = board
    assert press("w").held
    now[0] = 0.79  # the first repetition takes longer
    assert source.poll(0.0).held
    assert press("w").held
    now[0] += 0.49
    assert source.poll(0.0).held
    now[0] += 0.02  # 0.5 s after the last repetition
    assert not source.poll(0.0).held
    now[0] += 0.1
    assert not press("+").held  # not a movement key


def test_a_key_that_never_repeats_counts_as_released(board):
    source, press, now, _ = board
    press("w")
    now[0] = 0.81
    assert not source.poll(0.0).held


def test_a_stop_takes_precedence_over_movement_keys(board):
    _, press, _, _ = board
    assert press("w w").stop is Stop.SETTLE
    assert press(" xw").stop is Stop.CUT
    driver_input = press("x ")
    assert driver_input.stop is Stop.CUT
    assert not driver_input.held
    assert press("w").held


def test_stride_and_quit(board):
    _, press, _, _ = board
    assert press("--").scale == pytest.approx(0.8)
    assert press("-" * 20).scale == pytest.approx(0.6)
    assert press("+" * 20).scale == pytest.approx(1.0)
    assert press("wq").ended


def test_a_stop_typed_with_quit_counts(board):
    driver_input = board[1]("xq")
    assert driver_input.ended
    assert driver_input.stop is Stop.CUT
    assert board[1]("q ").stop is Stop.SETTLE


def test_keys_delivered_late_by_a_stalled_connection_do_not_hold(board):
    _, press, now, _ = board
    assert press("w").held
    now[0] += 0.2
    assert press("w" * 15).held  # as many as a fast keyboard sends in 0.2 s
    now[0] += 5.0
    assert not board[0].poll(0.0).held
    now[0] += 0.02
    assert not press("w" * 120).held  # 5 s of repetitions within 20 ms
    assert press("w" * 120 + "x").stop is Stop.CUT
    now[0] += 0.02
    assert press("w").held


def test_after_a_pause_cbreak_mode_is_set_again(board):
    source, _, now, (_, slave) = board
    mode = termios.tcgetattr(slave)
    mode[3] |= termios.ICANON | termios.ECHO  # as a shell leaves it after Ctrl-Z and fg
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    now[0] += 0.02
    source.poll(0.0)
    assert termios.tcgetattr(slave)[3] & termios.ECHO
    now[0] += 2.0
    source.poll(0.0)
    assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)


def test_garbage_moves_nothing(board):
    assert not board[1]("\x1b[15~\x1b\x00é€7ZW").held


def test_the_terminal_is_left_as_it_was(board):
    source, _, _, (_, slave) = board
    during = termios.tcgetattr(slave)
    assert not during[3] & (termios.ECHO | termios.ICANON)
    assert during[3] & termios.ISIG  # Ctrl-C stays a signal
    source.close()
    assert termios.tcgetattr(slave)[3] & termios.ECHO
    source.close()


def test_a_closed_terminal_is_a_lost_driver(board):
    source, press, _, (master, _) = board
    assert press("w").held
    os.close(master)
    driver_input = source.poll(0.0)
    assert driver_input.lost
    assert not driver_input.held


def test_no_terminal_is_refused():
    read, write = os.pipe()
    with pytest.raises(TeleopError, match="needs a terminal"):
        KeyboardSource(TeleopConfig(), read)
    os.close(read)
    os.close(write)


class Session:
    """`robot teleop` in a pseudo-terminal and a process of its own."""

    def __init__(self, run):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(
                sys.executable, [sys.executable, "-m", "walkhome.robot.cli", "teleop", str(run)]
            )
        self.text = ""

    def until(self, pattern, typing="", seconds=60.0):
        """Type `typing` every 0.1 s until the pattern is on the screen."""
        end_s = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end_s, self.text[-800:]
            if typing:
                os.write(self.master, typing.encode())
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode()
                except OSError:  # it has ended
                    assert re.search(pattern, self.text), self.text[-800:]

    def end(self):
        """Wait for the end; return the exit code."""
        end_s = time.monotonic() + 60.0
        while time.monotonic() < end_s:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            try:
                if select.select([self.master], [], [], 0.05)[0]:
                    self.text += os.read(self.master, 65536).decode()
            except (OSError, ValueError):
                time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(self.text[-800:])


def test_a_person_drives_lets_go_and_quits(learned):
    session = Session(learned)
    session.until("hold w s a d")
    session.until("stand -> forward", typing="w")
    session.until("forward -> left", typing="a")
    session.until(r"settles: no key held")
    session.until("s driven", typing="q")
    assert session.end() == 0
    assert "Traceback" not in session.text


def test_ctrl_c_settles_and_leaves_with_130(learned):
    session = Session(learned)
    session.until("stand -> forward", typing="w")
    os.write(session.master, b"\x03")
    assert session.end() == 130
    assert "s driven" in session.text
    assert "Traceback" not in session.text


def test_closing_the_terminal_ends_the_drive(learned):
    session = Session(learned)
    session.until("stand -> forward", typing="w")
    os.close(session.master)
    # SIGHUP arrives, or the read fails first; either way the robot is settled and not cut.
    assert session.end() in (3, 130)
    assert "torque cut" not in session.text


def test_without_a_terminal_nothing_moves(learned):
    done = subprocess.run(
        [sys.executable, "-m", "walkhome.robot.cli", "teleop", str(learned)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "stands up" not in done.stdout


def test_a_closed_standard_input_is_refused(learned):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m walkhome.robot.cli teleop {learned} <&-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: driving by keyboard needs a terminal")

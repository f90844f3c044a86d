# SPDX-License-Identifier: MIT
"""The guardian with real supervisor processes: what it tells, replaces, and never forgets."""

import os
import pty
import signal
import time
import tty

import pytest

from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.manager import Guardian, estop_reason

LIMIT_S = 0.1


@pytest.fixture
def port():
    board, port = pty.openpty()
    tty.setraw(port)
    yield port
    os.close(port)
    os.close(board)


@pytest.fixture
def latch(tmp_path):
    return tmp_path / "estop.json"


@pytest.fixture
def guardian(latch, port):
    made = Guardian(LIMIT_S, latch)
    made.hand_over(port)
    yield made
    made.close()


def until_trouble(guardian):
    end_s = time.monotonic() + 10.0
    while not (told := guardian.trouble()):
        assert time.monotonic() < end_s
        time.sleep(0.005)
    return told


def test_silence_is_told_and_is_over_when_renewed(guardian):
    assert guardian.trouble() == ""
    guardian.watch(True)
    assert "no command" in until_trouble(guardian)
    assert not guardian.alive()
    assert guardian.renew()  # the board's stop is its own
    assert guardian.trouble() == ""
    assert not guardian.renew()
    assert (guardian.cuts, guardian.lost) == (1, 0)


def test_a_dead_supervisor_is_told_and_replaced(guardian, port):
    first = guardian.pid
    os.kill(first, signal.SIGKILL)
    assert "gone" in until_trouble(guardian)
    guardian.hand_over(port)  # nobody is there to take it; and nothing breaks
    assert not guardian.renew()
    assert guardian.pid != first
    assert guardian.trouble() == ""
    assert guardian.summary()["lost"] == 1


def test_an_emergency_stop_outlives_its_latch_in_this_process(guardian, latch):
    assert guardian.estop() == ""
    estop.press("a test", latch.parent)
    assert until_trouble(guardian) == "emergency stop"
    assert not guardian.renew()  # the board's stop is a person's
    assert guardian.trouble() == "emergency stop"
    assert "a test" in guardian.estop()
    estop.clear(latch.parent)
    assert "start again" in guardian.estop()
    assert guardian.trouble() == "emergency stop"


def test_the_reason_names_who_and_what_to_do(latch):
    assert estop_reason(latch) == ""
    estop.press("the cat", latch.parent)
    assert "the cat" in estop_reason(latch)
    assert "robot estop --clear" in estop_reason(latch)
    latch.write_text("?")
    assert "counts as pressed" in estop_reason(latch)

# SPDX-License-Identifier: MIT
"""The manager with real supervisor processes: what it tells, replaces, and never forgets."""

import os
import pty
import signal
import time
import tty

import pytest

from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.manager import SupervisorManager, estop_reason

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
def manager(latch, port):
    made = SupervisorManager(LIMIT_S, latch)
    made.hand_over(port)
    yield made
    made.close()


def until_trouble(manager):
    end_s = time.monotonic() + 10.0
    while not (told := manager.trouble()):
        assert time.monotonic() < end_s
        time.sleep(0.005)
    return told


def test_silence_is_told_and_is_over_when_renewed(manager):
    assert manager.trouble() == ""
    manager.watch(True)
    assert "no command" in until_trouble(manager)
    assert not manager.alive()
    assert manager.renew()  # the board's stop is its own
    assert manager.trouble() == ""
    assert not manager.renew()
    assert (manager.cuts, manager.lost) == (1, 0)


def test_a_dead_supervisor_is_told_and_replaced(manager, port):
    first = manager.pid
    os.kill(first, signal.SIGKILL)
    assert "gone" in until_trouble(manager)
    manager.hand_over(port)  # no supervisor runs to take it, and nothing breaks
    assert not manager.renew()
    assert manager.pid != first
    assert manager.trouble() == ""
    assert manager.summary()["lost"] == 1


def test_an_emergency_stop_outlives_its_latch_in_this_process(manager, latch):
    assert manager.estop() == ""
    estop.press("a test", latch.parent)
    assert until_trouble(manager) == "emergency stop"
    assert not manager.renew()  # the board's stop is a person's
    assert manager.trouble() == "emergency stop"
    assert "a test" in manager.estop()
    estop.clear(latch.parent)
    assert "start again" in manager.estop()
    assert manager.trouble() == "emergency stop"


def test_the_reason_names_who_and_what_to_do(latch):
    assert estop_reason(latch) == ""
    estop.press("the cat", latch.parent)
    assert "the cat" in estop_reason(latch)
    assert "robot estop --clear" in estop_reason(latch)
    latch.write_text("?")
    assert "counts as pressed" in estop_reason(latch)

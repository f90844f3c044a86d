# SPDX-License-Identifier: MIT
"""A failing disk is told once, tolerated for a while, and then waited for."""

from types import SimpleNamespace

import pytest

from walkhome.robot.training.disk_guard import MAX_AT_RISK_S, DiskGuard


class Disk:
    """What a watch sees: trouble, and how much waits for it."""

    def __init__(self):
        self.trouble, self.risk_s, self.polls = "", 0.0, 0
        self.messages, self.settled, self.recovers_after = [], 0, 3
        self.recorder = SimpleNamespace(at_risk_s=self.at_risk_s)
        self.run = SimpleNamespace(trouble="")
        view = SimpleNamespace(message=self.messages.append)
        self.watch = DiskGuard(self.run, self.recorder, view, self.settle, self.stopped)

    def at_risk_s(self):
        if self.settled:
            self.polls += 1
            if self.polls > self.recovers_after:
                self.recorder.trouble, self.risk_s = "", 0.0
        return self.risk_s

    def settle(self):
        self.settled += 1

    def stopped(self):
        return self.polls > 20

    def fails(self, risk_s):
        self.recorder.trouble, self.risk_s = "the journal: no space left on device", risk_s


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr("walkhome.robot.training.disk_guard.POLL_S", 0.0)
    made = Disk()
    made.recorder.trouble = ""
    return made


def test_all_is_well(disk):
    disk.risk_s = 0.4  # what the thread has not fetched yet
    assert disk.watch.go_on()
    assert disk.watch.go_on(risk_s=0.0)
    assert disk.messages == []
    assert not disk.settled


def test_trouble_is_told_once_and_its_end_too(disk):
    disk.fails(3.0)
    assert disk.watch.go_on()
    assert disk.watch.go_on()
    assert not disk.settled
    disk.recorder.trouble = ""
    assert disk.watch.go_on()
    assert [text.split(":")[0] for text in disk.messages] == [
        "ALARM",
        "the disk takes everything again",
    ]


def test_too_much_at_risk_settles_the_robot_and_waits(disk):
    disk.fails(MAX_AT_RISK_S + 1.0)
    assert disk.watch.go_on()
    assert disk.settled == 1
    assert disk.polls > disk.recovers_after
    assert any("PAUSED" in text for text in disk.messages)


def test_a_disk_that_hangs_without_an_error_pauses_too(disk):
    disk.risk_s = MAX_AT_RISK_S + 1.0
    assert disk.watch.go_on()
    assert disk.settled == 1


def test_at_the_end_nothing_may_wait(disk):
    disk.fails(0.5)
    assert disk.watch.go_on(risk_s=0.0)
    assert disk.settled == 1


def test_a_stop_ends_the_wait(disk):
    disk.recovers_after = 1000
    disk.fails(MAX_AT_RISK_S + 1.0)
    assert not disk.watch.go_on()


def test_logs_in_trouble_are_told(disk):
    disk.run.trouble = "events.jsonl: read-only file system"
    assert disk.watch.go_on()
    assert "events.jsonl" in disk.messages[0]

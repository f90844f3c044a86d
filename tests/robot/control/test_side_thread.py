# SPDX-License-Identifier: MIT
"""What a control thread must not wait for is done beside it: in order, and all of it."""

import threading
import time

from small_runs import config_of

from walkhome.robot.control.side_thread import SideThread
from walkhome.robot.monitor.background import BackgroundView
from walkhome.robot.storage.run_folder import RunFolder


def test_jobs_are_done_in_order_and_leaving_waits():
    done = []
    with SideThread("test") as thread:
        for k in range(100):
            thread.do(lambda k=k: done.append(k))
    assert done == list(range(100))
    thread.close()  # again


def test_one_that_is_stuck_keeps_nobody():
    stuck = threading.Event()
    begin_s = time.monotonic()
    with SideThread("test", close_s=0.05) as thread:
        thread.do(stuck.wait)
    assert time.monotonic() - begin_s < 5.0
    stuck.set()


class Screen:
    """A view whose terminal was stopped until `go`."""

    def __init__(self):
        self.go, self.begun = threading.Event(), threading.Event()
        self.seen = []

    def update(self, snapshot):
        self.begun.set()
        self.go.wait(10.0)
        self.seen.append(snapshot)

    def message(self, text):
        self.seen.append(text)

    def close(self):
        raise AssertionError("whoever made it closes it")


def test_a_stopped_terminal_is_not_waited_for_and_gets_the_newest_moment():
    screen = Screen()
    view = BackgroundView(screen, SideThread("test"))
    view.update(0)
    assert screen.begun.wait(10.0)
    for moment in range(1, 1000):
        view.update(moment)
    view.message("hello")
    screen.go.set()
    view.close()
    assert screen.seen == [0, 999, "hello"]


def test_a_run_writes_its_logs_beside(tmp_path):
    with RunFolder.create(tmp_path / "run", config_of()) as run:
        waiting = []
        run.write_with(waiting.append)
        run.event("one")
        run.metric(robot_s=1.0)
        assert run.events() == []
        for job in waiting:
            job()
        run.write_with(None)
        run.event("two")
        assert [e["event"] for e in run.events()] == ["one", "two"]
        assert len(run.metrics()) == 1

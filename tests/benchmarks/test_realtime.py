# SPDX-License-Identifier: MIT
"""Real-time priority of the control thread; stops of a real board process."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


PRIORITISE = """
import gc, json, os, subprocess, sys
from walkhome.hardware.realtime import prioritise
granted = prioritise(50)
child = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"],
                       capture_output=True, text=True).stdout
print(json.dumps([granted.scheduler, granted.memory, granted.refused, gc.isenabled(),
                  os.sched_getscheduler(0) & 0xF == os.SCHED_FIFO, int(child)]))
"""


def test_priority_is_granted_or_it_is_said_why_not():
    done = subprocess.run(
        [sys.executable, "-c", PRIORITISE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    scheduler, memory, refused, collects, is_fifo, child = json.loads(done.stdout)
    assert not collects
    assert is_fifo == scheduler
    assert child == os.SCHED_OTHER  # what it starts is ordinary again
    assert len(refused) == (not scheduler) + (not memory)
    assert all("limits.d" in text for text in refused)
    assert gc.isenabled()  # here


@pytest.mark.timeout(300)
def test_the_boards_log_records_a_stop_whichever_process_dies():
    """Check that and why the board stops; `benchmarks/realtime.py` measures the times."""
    command = [sys.executable, ROOT / "benchmarks" / "realtime.py", "--stop", "--trials", "1"]
    command += ["--through", "stand-up", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    stops = json.loads(done.stdout.splitlines()[-1])["stop"]
    for case in ("killed", "frozen", "both", "unplugged", "estop"):
        found = stops[case]
        assert found["trials"] == 1
        assert found["never_stopped"] == 0, (case, found)
        told = 0 if case in ("both", "unplugged") else 1 - found["stopped_early"]
        assert found["by_supervisor"] >= told, (case, found)
    assert stops["machine"]["witness"]["count"] > 100  # it ticked all the while
    assert stops["machine"]["stolen"] >= 0.0


def test_a_side_thread_gets_priority_only_beside_one_that_has_it():
    from walkhome.hardware.realtime import SIDE_THREAD_PRIORITY, prioritise_side_thread

    before = os.sched_getscheduler(0)
    # The main thread of this process has no real-time priority.
    assert not prioritise_side_thread(SIDE_THREAD_PRIORITY)
    assert os.sched_getscheduler(0) == before

# SPDX-License-Identifier: MIT
"""Where a control thread's time went: what it says after a silence, and that it never grows."""

import time

from walkhome.robot.control.cycle_trace import KEPT, SIZE, CycleTrace, format_trace


def burn(seconds):
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def test_it_tells_work_from_waiting_in_order():
    trace = CycleTrace()
    trace.mark("sleep")
    time.sleep(0.02)
    trace.note("somebody else begins")
    trace.mark("work")
    burn(0.02)
    trace.mark("nothing")
    slept, noted, worked = trace.story(1.0)
    assert [slept["what"], noted["what"], worked["what"]] == [
        "sleep",
        "somebody else begins",
        "work",
    ]
    assert slept["ms"] >= 20.0 > slept["own_ms"]
    assert worked["own_ms"] >= 19.0
    assert worked["ms"] >= worked["own_ms"]
    assert slept["at_ms"] < worked["at_ms"] < 0.0
    assert "sleep " in format_trace([slept, noted, worked])
    assert "begins" not in format_trace([slept, noted, worked])


def test_the_longest_silences_stay_with_their_story():
    trace = CycleTrace()
    trace.sent()  # the first ends no silence
    lengths_s = [0.002, 0.012, 0.004, 0.006, 0.003, 0.005, 0.002]
    for seconds in lengths_s:
        trace.mark("think")
        time.sleep(seconds)
        trace.sent()
    assert len(trace.worst) == KEPT
    assert trace.worst[0]["ms"] >= 12.0
    found = [one["ms"] for one in trace.worst]
    assert found == sorted(found, reverse=True)
    assert any(row["what"] == "think" for row in trace.worst[0]["where"])


def test_a_pause_that_was_meant_is_no_silence():
    trace = CycleTrace()
    trace.sent()
    time.sleep(0.01)
    trace.restart()
    trace.sent()
    assert trace.worst == []


def test_it_goes_round():
    trace = CycleTrace()
    for k in range(3 * SIZE):
        trace.mark(str(k))
    assert len(trace._what) == SIZE
    assert trace._what.count(str(3 * SIZE - 1)) == 1
    trace.story(1e6)  # longer than the ring: as far as it goes

# SPDX-License-Identifier: MIT
"""Where a control thread's time went: what it says after a silence, and that it never grows."""

import time

from walkhome.robot.control.cycle_trace import KEPT, SIZE, Timeline, told


def burn(seconds):
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def test_it_tells_work_from_waiting_in_order():
    timeline = Timeline()
    timeline.mark("sleep")
    time.sleep(0.02)
    timeline.note("somebody else begins")
    timeline.mark("work")
    burn(0.02)
    timeline.mark("nothing")
    slept, noted, worked = timeline.story(1.0)
    assert [slept["what"], noted["what"], worked["what"]] == [
        "sleep",
        "somebody else begins",
        "work",
    ]
    assert slept["ms"] >= 20.0 > slept["own_ms"]
    assert worked["own_ms"] >= 19.0
    assert worked["ms"] >= worked["own_ms"]
    assert slept["at_ms"] < worked["at_ms"] < 0.0
    assert "sleep " in told([slept, noted, worked])
    assert "begins" not in told([slept, noted, worked])


def test_the_longest_silences_stay_with_their_story():
    timeline = Timeline()
    timeline.sent()  # the first ends no silence
    assert timeline.newest() is None
    lengths_s = [0.002, 0.012, 0.004, 0.006, 0.003, 0.005, 0.002]
    for seconds in lengths_s:
        timeline.mark("think")
        time.sleep(seconds)
        timeline.sent()
    assert len(timeline.worst) == KEPT
    assert timeline.worst[0]["ms"] >= 12.0
    found = [one["ms"] for one in timeline.worst]
    assert found == sorted(found, reverse=True)
    assert any(row["what"] == "think" for row in timeline.worst[0]["where"])
    assert timeline.newest() in timeline.worst
    assert timeline.newest() is None  # once


def test_a_pause_that_was_meant_is_no_silence():
    timeline = Timeline()
    timeline.sent()
    time.sleep(0.01)
    timeline.restart()
    timeline.sent()
    assert timeline.worst == []


def test_it_goes_round():
    timeline = Timeline()
    for k in range(3 * SIZE):
        timeline.mark(str(k))
    assert len(timeline._what) == SIZE
    assert timeline._what.count(str(3 * SIZE - 1)) == 1
    timeline.story(1e6)  # longer than the ring: as far as it goes

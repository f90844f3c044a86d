# SPDX-License-Identifier: MIT
"""The decisions: most severe wins, and nothing moves again that may not."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.safety.faults.matrix import BUDGET_10_MIN, FAULTS, GONE_S, Clears, FaultMonitor, Level

CODES = st.sampled_from(sorted(FAULTS))
EVENTS = st.lists(
    st.tuples(st.sampled_from(["report", "gone", "wait", "clear"]), CODES, st.floats(0.0, 100.0)),
    max_size=60,
)


def play(supervisor, events):
    """Plays them; yields the time after each, with the conditions that are there."""
    now_s, there = 0.0, set()
    for what, code, seconds in events:
        now_s += seconds
        if what == "report":
            supervisor.report(code, now_s)
            there.add(code)
        elif what == "gone":
            supervisor.gone(code, now_s)
            there.discard(code)
        elif what == "clear":
            supervisor.clear(code, now_s)
        yield now_s, there


@given(EVENTS)
def test_the_most_severe_wins_and_what_is_there_counts(events):
    supervisor = FaultMonitor()
    for now_s, there in play(supervisor, events):
        active = supervisor.active(now_s)
        assert there <= set(active)
        levels = [supervisor.rule(code).level for code in active]
        assert levels == sorted(levels, reverse=True)
        assert supervisor.level(now_s) == max(levels, default=Level.NONE)


@given(EVENTS)
def test_what_needs_a_person_is_never_cleared_by_time(events):
    supervisor = FaultMonitor()
    latched = set()
    for (now_s, _), (what, code, _) in zip(play(supervisor, events), events, strict=True):
        rule = supervisor.rule(code)
        if what == "report" and rule.clears in (Clears.OPERATOR, Clears.NEVER):
            latched.add(code)
        if what == "clear" and rule.clears is not Clears.NEVER:
            latched &= set(supervisor.active(now_s))
        assert latched <= set(supervisor.active(now_s + 1e6))
        assert latched <= set(supervisor.needs_person(now_s + 1e6))


@given(EVENTS)
def test_no_answer_before_its_time_is_up(events):
    """Right before `clears_in_s` something still stands against arming; right after nothing."""
    supervisor = FaultMonitor()
    now_s = [0.0, *(now_s for now_s, _ in play(supervisor, events))][-1]
    wait_s = supervisor.clears_in_s(now_s)
    if 0.0 < wait_s < math.inf:
        assert supervisor.active(now_s + 0.999 * wait_s)
        assert not supervisor.active(now_s + wait_s + 1e-3)
    elif wait_s == math.inf:
        assert supervisor.active(now_s + 1e7)
    else:
        assert not supervisor.active(now_s)


def test_the_longest_wait_counts():
    supervisor = FaultMonitor()
    for code, gone_s in (("link_lost", 0.0), ("late", 1.5), ("pose_lost", 0.5)):
        supervisor.report(code, 0.0)
        supervisor.gone(code, gone_s)
    assert supervisor.clears_in_s(1.5) == 2.0
    supervisor.report("battery", 1.5)
    supervisor.gone("battery", 1.5)
    assert supervisor.clears_in_s(1.5) == math.inf


def test_a_condition_that_flickers_is_one_fault():
    supervisor = FaultMonitor()
    for i in range(50):
        supervisor.report("link_lost", 0.1 * i)
        supervisor.gone("link_lost", 0.1 * i + 0.05)
    assert supervisor.active(5.0) == ("link_lost",)
    assert supervisor.needs_person(5.0) == ()
    assert supervisor.level(4.95 + GONE_S + 0.1) is Level.NONE


def test_a_budget_that_is_spent_needs_a_person_and_pauses_grow():
    supervisor = FaultMonitor()
    now_s, pauses = 0.0, []
    for _ in range(BUDGET_10_MIN):
        supervisor.report("link_lost", now_s)
        supervisor.gone("link_lost", now_s)
        pauses.append(supervisor.clears_in_s(now_s))
        now_s += pauses[-1] + 0.01
        assert supervisor.level(now_s) is Level.NONE
    assert pauses == [2.0, 4.0, 8.0]
    supervisor.report("link_lost", now_s)
    supervisor.gone("link_lost", now_s)
    assert supervisor.clears_in_s(now_s) == math.inf
    assert supervisor.needs_person(now_s + 1e5) == ("link_lost",)
    assert supervisor.clear("link_lost", now_s) == ""
    assert supervisor.level(now_s) is Level.NONE
    supervisor.report("link_lost", now_s)  # and the budget is whole again
    supervisor.gone("link_lost", now_s)
    assert supervisor.clears_in_s(now_s) == 2.0


def test_a_slow_trickle_spends_the_budget_of_a_day():
    supervisor = FaultMonitor()
    cleared = 0
    for i in range(30):
        now_s = 1000.0 * i
        if supervisor.level(now_s) is Level.NONE:
            cleared += 1
            supervisor.report("late", now_s)
            supervisor.gone("late", now_s)
    assert cleared == 21  # 20 cleared by themselves, and the one that did not


def test_a_person_can_not_clear_what_is_still_there_or_for_good():
    supervisor = FaultMonitor()
    supervisor.report("estop", 0.0)
    assert "still present" in supervisor.clear("estop", 1.0)
    supervisor.gone("estop", 2.0)
    assert supervisor.level(1e9) is Level.CUT
    assert supervisor.clear("estop", 1e9) == ""
    supervisor.report("unsafe_limits", 1e9)
    supervisor.gone("unsafe_limits", 1e9)
    assert "new start" in supervisor.clear("unsafe_limits", 2e9)
    assert supervisor.level(2e9) is Level.CUT


def test_what_nobody_knows_cuts_and_a_time_that_is_none_is_refused():
    supervisor = FaultMonitor()
    supervisor.report("never heard of", 0.0)
    supervisor.gone("never heard of", 0.0)
    assert supervisor.level(1e9) is Level.CUT
    with pytest.raises(ValueError, match="time"):
        supervisor.level(math.nan)


def test_the_document_has_the_same_table():
    text = (Path(__file__).parents[3] / "docs" / "safety.md").read_text()
    for code, rule in FAULTS.items():
        row = f"| `{code}` | {rule.level.name} | {rule.clears.value} | {rule.text} |"
        assert row in text, row
    levels = tuple(f"` | {level.name} |" for level in Level)
    rows = [x for x in text.splitlines() if any(level in x for level in levels)]
    assert len(rows) == len(FAULTS)


def test_every_row_is_reported_by_somebody():
    root = Path(__file__).parents[3]
    files = [f for room in ("hardware", "safety", "robot") for f in (root / room).rglob("*.py")]
    said = "".join(f.read_text() for f in files if f.name != "matrix.py")
    for code in FAULTS:
        assert f'"{code}"' in said, code

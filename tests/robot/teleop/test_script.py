# SPDX-License-Identifier: MIT
"""Scripts: what they mean, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.robot.teleop.driver_input import TeleopError
from walkhome.robot.teleop.script import Part, ScriptSource, parse_script, read_script

TASKS = ("forward", "left")


def test_the_issue_s_own_example():
    parts = parse_script("forward 3s, left 2s, stop 1s", TASKS)
    assert parts == [Part("forward", 3.0), Part("left", 2.0), Part("stop", 1.0)]


def test_a_file_may_have_lines_and_comments(tmp_path):
    path = tmp_path / "tour.txt"
    path.write_text("# a tour\nforward 0.5 s\n\nleft 2s, settle 1s  # rest\n")
    parts = parse_script(read_script(str(path)), TASKS)
    assert [part.what for part in parts] == ["forward", "left", "settle"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("# nothing", "empty"),
        ("forward", "forward 3s"),
        ("forward three s", "not understood"),
        ("forward 3", "not understood"),
        ("forward -1s", "not understood"),
        ("forward 0s", "above 0"),
        ("forward 1e9s", "not understood"),
        ("right 1s", "was not learned in this run; there are forward, left"),
    ],
)
def test_what_nobody_understands_is_refused(text, part):
    with pytest.raises(TeleopError, match=part):
        parse_script(text, TASKS)


def test_a_script_may_be_longer_than_a_file_s_name():
    text = ", ".join(["forward 0.1s"] * 100)
    assert len(parse_script(read_script(text), TASKS)) == 100


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TeleopError, match="No such file"):
        read_script(str(tmp_path / "nope.txt"))


@given(st.lists(st.tuples(st.sampled_from(["forward", "left", "stop"]), st.floats(0.1, 5)),
                min_size=1, max_size=8), st.floats(0, 1))  # fmt: skip
def test_each_part_lasts_as_long_as_it_says(parts, share):
    source = ScriptSource([Part(*part) for part in parts])
    begin_s = 0.0
    for what, seconds in parts:
        order = source.poll(begin_s + 0.999 * share * seconds)
        assert order.held
        assert not order.ended
        assert order.task == (None if what == "stop" else what)
        begin_s += seconds
    assert source.poll(begin_s + 1e-6).ended


def test_settle_lets_the_dead_man_go():
    assert not ScriptSource([Part("settle", 1.0)]).poll(0.5).held

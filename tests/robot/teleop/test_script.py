# SPDX-License-Identifier: MIT
"""Scripts: parsing, refusals, and playing in robot time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.robot.teleop.driver_input import TeleopError
from walkhome.robot.teleop.script import ScriptSource, ScriptStep, parse_script, read_script

TASKS = ("forward", "left")


def test_steps_are_parsed():
    steps = parse_script("forward 3s, left 2s, stop 1s", TASKS)
    assert steps == [ScriptStep("forward", 3.0), ScriptStep("left", 2.0), ScriptStep("stop", 1.0)]


def test_a_file_may_have_lines_and_comments(tmp_path):
    path = tmp_path / "tour.txt"
    path.write_text("# a tour\nforward 0.5 s\n\nleft 2s, settle 1s  # rest\n")
    steps = parse_script(read_script(str(path)), TASKS)
    assert [step.task for step in steps] == ["forward", "left", "settle"]


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_a_step_that_can_not_be_parsed_is_refused(text, message):
    with pytest.raises(TeleopError, match=message):
        parse_script(text, TASKS)


def test_a_script_may_be_longer_than_a_file_name():
    text = ", ".join(["forward 0.1s"] * 100)
    assert len(parse_script(read_script(text), TASKS)) == 100


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TeleopError, match="No such file"):
        read_script(str(tmp_path / "nope.txt"))


@given(st.lists(st.tuples(st.sampled_from(["forward", "left", "stop"]), st.floats(0.1, 5)),
                min_size=1, max_size=8), st.floats(0, 1))  # fmt: skip
def test_each_step_lasts_its_time(steps, share):
    source = ScriptSource([ScriptStep(*step) for step in steps])
    begin_s = 0.0
    for task, seconds in steps:
        driver_input = source.poll(begin_s + 0.999 * share * seconds)
        assert driver_input.held
        assert not driver_input.ended
        assert driver_input.task == (None if task == "stop" else task)
        begin_s += seconds
    assert source.poll(begin_s + 1e-6).ended


def test_settle_releases_the_dead_man():
    assert not ScriptSource([ScriptStep("settle", 1.0)]).poll(0.5).held

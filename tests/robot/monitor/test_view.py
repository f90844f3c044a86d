# SPDX-License-Identifier: MIT
"""Views show the fields of a status, limit their rate, and never end a run."""

import io
import json
import math
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from walkhome.robot.control.board_stats import BoardStats
from walkhome.robot.monitor.screen import workspace_map
from walkhome.robot.monitor.status import RunStatus, TaskStatus, format_duration
from walkhome.robot.monitor.view import LiveView, PlainView, format_status_line, make_view

SNAPSHOT = RunStatus(
    robot_minutes_total=2.5,
    robot_minutes_moving=2.0,
    robot_minutes_standing_up=0.4,
    robot_minutes_waiting=0.1,
    minutes_budget=8.0,
    wall_s=300.0,
    steps=6000,
    gradient_steps=12000,
    phase="episode",
    task="left",
    pose=(0.0, 0.0, 0.0),
    half_length_m=2.5,
    half_width_m=2.5,
    tasks={
        "forward": TaskStatus(14, 2800, 3, 1, 0.213, 0.02, 0.111, (0.25, 1.5)),
        "left": TaskStatus(9, 1800, 2, 0, 0.01, 0.62, 0.222, (0.75, 2.5)),
    },
    falls=5,
    exits=1,
    stand_ups_tried=7,
    stand_ups_failed=2,
    human_resets=0,
)


def at(minutes, **changes):
    return replace(SNAPSHOT, robot_minutes_total=minutes, **changes)


def live_text(width=120, height=40, status=SNAPSHOT, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height, force_terminal=True)
    view = LiveView(console, every_s=0.0)
    view.message("hello [bold]robot[/bold]")
    view.update(status)
    view.close()
    view.close()
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24)])
def test_the_screen_shows_all_figures(width, height):
    text = live_text(width, height)
    for shown in (
        "hello [bold]robot[/bold]",
        "2.50 of 8 robot minutes",
        "31%",
        "wall 5:00",
        "0.5x real time",
        "about 11:00 left",
        "episode: left",
        "+0.213",
        "+0.62",
        "0.111",
        "0.25, 1.50",
        "7 (2 failed)",
        "2.00 min",
        "0.40 min",
        "0.10 min",
        "12000",
        "6000",
        "5 x 5 m",
        "┌",
    ):
        assert shown in text, shown


def test_the_screen_fits_a_small_terminal():
    plain = live_text(80, 24).split("hello")[1]
    last = plain[plain.rindex("of 8 robot minutes") :]
    assert last.count("\n") < 24


def test_a_boards_run_shows_how_it_keeps_time():
    board = BoardStats(49.9, 0.21, 13.4, 3, 9.5, 17, 2, 1)
    plain = live_text(80, 24, at(2.0, board=board)).split("hello")[1]
    assert plain[plain.rindex("of 8 robot minutes") :].count("\n") < 24
    for text in (live_text(status=at(2.0, board=board)), format_status_line(at(2.0, board=board))):
        for shown in ("49.9 Hz", "13.4", "9.5 ms", "17 lost"):
            assert shown in text
    assert "Hz" not in format_status_line(at(2.0))


def test_a_terminal_without_unicode_gets_ascii():
    text = live_text(encoding="ascii")
    assert "┌" not in text
    assert "+---" in text


def test_the_refresh_rate_of_the_screen_is_limited():
    stream = io.StringIO()
    view = LiveView(Console(file=stream, force_terminal=True, width=120), every_s=3600.0)
    view.update(at(1.0))
    size = len(stream.getvalue())
    view.update(at(1.5))
    assert len(stream.getvalue()) == size
    view.close()
    assert "1.50 of 8" in stream.getvalue()  # the last moment is never missed


def test_characters_outside_the_terminals_encoding_are_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for view in (PlainView(stream), LiveView(Console(file=stream, force_terminal=True))):
        view.message("run folder: \u00fcbung")
        view.message("and on")
        view.close()
    stream.flush()
    text = stream.buffer.getvalue().decode()
    assert text.count("run folder: \\xfcbung") == 2
    assert text.count("and on") == 2


class Gone(io.StringIO):
    """A terminal that has been closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")


def test_a_closed_terminal_does_not_end_the_run():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    view = LiveView(console, every_s=0.0)
    view.update(SNAPSHOT)
    console.file = Gone()
    view.update(SNAPSHOT)
    view.message("x")
    view.close()
    plain = PlainView(Gone())
    plain.update(SNAPSHOT)
    plain.update(at(9.0))
    plain.message("x")
    plain.close()


@pytest.mark.parametrize(
    ("yaw_rad", "arrow"),
    [(0.0, "↑"), (math.pi / 2, "←"), (-math.pi / 2, "→"), (math.pi, "↓"), (0.8, "↖"), (7.0, "↖")],
)
def test_the_map_looks_down_with_forward_up_and_left_on_the_left(yaw_rad, arrow):
    ahead_left = replace(SNAPSHOT, pose=(2.0, 1.5, yaw_rad))
    lines = workspace_map(ahead_left)
    row = next(index for index, line in enumerate(lines) if arrow in line)
    assert row < len(lines) / 2
    assert lines[row].index(arrow) < len(lines[row]) / 2
    middle = lines[len(lines) // 2]
    assert middle[round((len(middle) - 1) / 2)] == "+"


def test_the_map_shows_the_trail():
    lines = workspace_map(SNAPSHOT, [(1.0, 1.0), (-1.0, -1.0)])
    assert sum(line.count("·") for line in lines) == 2


@given(
    st.floats(-1e6, 1e6) | st.just(math.nan),
    st.floats(-1e6, 1e6),
    st.floats(-100, 100) | st.just(math.inf),
    st.floats(0.3, 50),
    st.floats(0.3, 50),
    st.integers(5, 30),
    st.booleans(),
)
def test_the_map_is_a_rectangle_whatever_happens(x, y, yaw, half_x, half_y, rows, ascii_only):
    status = replace(SNAPSHOT, pose=(x, y, yaw), half_length_m=half_x, half_width_m=half_y)
    lines = workspace_map(status, rows=rows, ascii_only=ascii_only)
    assert len(lines) == rows
    assert len({len(line) for line in lines}) == 1


def test_plain_lines_come_every_so_many_robot_seconds():
    stream = io.StringIO()
    view = PlainView(stream, every_s=10.0)
    for tenth in range(601):  # one robot minute
        view.update(at(tenth / 600))
    view.update(at(3.0))  # a long pause does not bring the missed lines
    view.close()
    assert len(stream.getvalue().splitlines()) == 8


def test_the_last_status_is_always_printed():
    stream = io.StringIO()
    view = PlainView(stream)
    view.update(at(0.0))
    view.update(at(0.05, falls=77))
    view.close()
    last = stream.getvalue().splitlines()[-1]
    assert "falls 77" in last
    assert "forward +0.213 m/s" in last
    assert "left +0.62 rad/s" in last


def test_json_lines_are_json_whatever_the_numbers():
    stream = io.StringIO()
    view = PlainView(stream, as_json=True)
    view.message('quote " and ü')
    view.update(at(0.0, pose=(math.nan, 1.0, math.inf)))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {"event": "message", "text": 'quote " and ü'}
    assert second["event"] == "progress"
    assert second["pose"] == [None, 1.0, None]
    assert second["tasks"]["forward"]["lambdas"] == [0.25, 1.5]


def test_the_view_is_chosen_by_the_output(monkeypatch):
    assert isinstance(make_view(), PlainView)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_view(as_json=True), PlainView)
    live = make_view()
    assert isinstance(live, LiveView)
    live.close()
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_view(), PlainView)


def test_durations_are_formatted():
    assert format_duration(0) == "0:00"
    assert format_duration(75.9) == "1:15"
    assert format_duration(3661) == "1:01:01"

# SPDX-License-Identifier: MIT
"""The report of a run is one self-contained page, also for incomplete or damaged runs."""

import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from fake_run import STEPS, make_fake_run

from walkhome.hardware.body import LEG_NAMES
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.evaluation.gait_record import GaitRecord, save_gait
from walkhome.robot.report.figures import FIGURES
from walkhome.robot.report.page import headline, write_report
from walkhome.robot.report.run_data import RunData, running_mean, task_progress
from walkhome.robot.report.style import LEG_COLOUR, PHASE_COLOUR, TASK_COLOUR, TASK_MARKER
from walkhome.robot.storage.policies import policy_digest
from walkhome.robot.storage.run_folder import RunError, RunFolder

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


class Page(HTMLParser):
    """Parses a page into its text, images and references."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.ids, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert tag not in ("script", "link", "iframe")
        self.sources += [attributes[key] for key in ("src", "href") if key in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tasks = ("forward", "backward", "left", "right")
    made = make_fake_run(tmp_path_factory.mktemp("runs") / "a<b>", tasks=tasks, episodes=24)
    for task, phases in zip(tasks, ((0, 0.5, 0.5, 0), (0, 0, 0.5, 0.5)) * 2, strict=True):
        save_gait(made.path / "report" / "gait" / f"{task}.safetensors", gait(phases), {})
    return made


def gait(phases):
    """Make a record of 5 s with two strides per second and a duty factor of 0.5."""
    time_s = np.arange(2500) * 0.002
    share = np.stack([(2 * time_s - phase) % 1.0 for phase in phases], axis=1)
    angle = 2.0 + 0.3 * np.sin(2 * np.pi * np.repeat(share, 2, axis=1))
    return GaitRecord(time_s, 20.0 * (share < 0.5), angle, angle, angle - 2.0, 20.0 * angle)


@pytest.fixture(scope="module")
def page(run):
    frames = run.path / "report" / "frames"
    frames.mkdir()
    for number in range(20):
        (frames / f"forward-{number:02d}.png").write_bytes(PNG)
    path = write_report(RunFolder.open(run.path))
    assert path == run.path / "report" / "report.html"
    return Page(path.read_text())


@pytest.fixture
def few_figures(monkeypatch):
    """Draw only one figure, because drawing takes most of a report's time."""
    only = {"falls_over_time": FIGURES["falls_over_time"]}
    monkeypatch.setattr("walkhome.robot.report.page.FIGURES", only)


def test_the_page_stands_alone(page):
    assert len(page.sources) == len(FIGURES) + 8
    assert all(source.startswith("data:image/") for source in page.sources)


def test_every_figure_is_there_and_drawn(page, run):
    assert [name for name in FIGURES if name not in page.ids] == []
    for name in FIGURES:
        assert (run.path / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for source in page.sources[: len(FIGURES)]:
        kind, _, data = source.partition(";base64,")
        assert kind == "data:image/svg+xml"
        assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")


def test_the_page_shows_the_numbers(page, run):
    summary = run.summary()
    facts = dict(headline(RunData.read(run)))
    assert facts["Falls"] == str(summary["falls"])
    assert facts["Robot minutes"].startswith(f"{summary['robot_minutes']['total']:.2f} (")
    for value in facts.values():
        assert value in page.text
    assert "mattress, seed 0" in page.text
    assert "+0.290" in page.text
    assert re.search(r"robot learn", page.text)


def test_the_page_shows_the_gaits(page):
    for text in ("trot", "pace", "2.00", "8.0", "0.50 ± 0.00"):
        assert text in page.text


def test_a_damaged_gait_record_is_left_out_with_a_note(tmp_path, few_figures):
    run = make_fake_run(tmp_path / "r", episodes=2)
    path = run.path / "report" / "gait" / "forward.safetensors"
    save_gait(path, gait((0, 0, 0, 0)), {})
    path.write_bytes(path.read_bytes()[:999])
    assert "No gait of forward" in Page(write_report(run).read_text()).text


def test_a_gait_of_an_earlier_policy_is_left_out_with_a_note(tmp_path, few_figures):
    run = make_fake_run(tmp_path / "r", episodes=2)
    policy, report = run.path / "policy.safetensors", run.path / "report"
    policy.write_bytes(b"learned")
    facts = {"policy": policy_digest(policy), "ended": "fall"}
    save_gait(report / "gait" / "forward.safetensors", gait((0, 0, 0, 0)), facts)
    (report / "frames").mkdir()
    (report / "frames" / "forward-00.png").write_bytes(PNG)
    page = Page(write_report(run).read_text())
    assert "forward: every roll-out of the evaluation ended in a fall" in page.text
    assert list(RunData.read(run).gaits) == ["forward"]
    pictures = len(page.sources)
    policy.write_bytes(b"learned on")
    page = Page(write_report(run).read_text())
    assert "No gait of forward: its record was made with an earlier policy" in page.text
    assert not RunData.read(run).gaits
    assert len(page.sources) == pictures - 1  # the film strip is of it as well


def test_names_are_not_markup(run):
    text = (run.path / "report" / "report.html").read_text()
    assert "a&lt;b&gt;" in text
    assert "a<b>" not in text


def test_the_same_run_gives_the_same_page(tmp_path, few_figures):
    run = make_fake_run(tmp_path / "r", episodes=6)
    path = write_report(RunFolder.open(run.path))
    before = path.read_bytes()
    assert write_report(RunFolder.open(run.path)).read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["falls_over_time.png", "report.html"]


def test_axes_say_quantity_and_unit(run):
    data = RunData.read(run)
    for name, (_, draw, _) in FIGURES.items():
        figure = draw(data)
        axes = [axis for axis in figure.axes if axis.get_visible()]
        assert axes, name
        for axis in axes:
            assert re.search(r"\(.+\)|count", axis.get_ylabel()), name
        assert any(re.search(r"\(.+\)", axis.get_xlabel()) for axis in axes), name


def test_the_map_draws_every_episode_along_its_task():
    """Backward episodes point out of the robot's back."""
    from types import SimpleNamespace

    config = resolve_config().config
    episodes = [
        {"task": "forward", "start": [1.0, 0.0, 0.5], "ended": "timeout"},
        {"task": "backward", "start": [0.0, 1.0, 0.5], "ended": "exit", "end": [2.6, 0.0, 0.0]},
    ]
    axis = FIGURES["workspace_map"][1](SimpleNamespace(config=config, episodes=episodes)).axes[0]
    forward, backward = (c for c in axis.collections if hasattr(c, "U"))
    angle = [float(np.arctan2(q.V, q.U).item()) for q in (forward, backward)]
    assert angle[0] == pytest.approx(0.5)
    assert angle[1] == pytest.approx(0.5 - np.pi)
    assert any(line.get_label() == "left the workspace (1)" for line in axis.lines)


def test_turns_are_better_upward_on_both_sides():
    episode = {"speed_m_s": 0.3, "turn_rate_rad_s": -0.5}
    assert task_progress(episode, "forward") == 0.3
    assert task_progress(episode, "left") == -0.5
    assert task_progress(episode, "right") == 0.5
    assert np.isnan(task_progress({"speed_m_s": None}, "backward"))


def test_running_mean_is_of_the_last_finite_values():
    values = np.array([np.nan, 1.0, 3.0, np.nan, 5.0, 7.0])
    got = running_mean(values, 3)
    np.testing.assert_allclose(got, [np.nan, 1, 2, 2, 4, 6])


def test_the_page_of_a_killed_run_has_a_note(tmp_path, few_figures):
    run = make_fake_run(tmp_path / "r", episodes=6, summary=False)
    with (run.path / "events.jsonl").open("a") as stream:
        stream.write('{"event": "epis')
    segment = next(run.journal.glob("*.bin"))
    with segment.open("r+b") as stream:
        stream.truncate(stream.seek(0, 2) - 7)
    data = RunData.read(run)
    assert data.summary["status"] == "unfinished"
    assert sum(task["episodes"] for task in data.summary["tasks"].values()) == 6
    assert data.summary["steps"] == 6 * STEPS
    assert len(data.records) == 6 * STEPS - 1
    text = Page(write_report(run).read_text()).text
    assert "no summary" in text
    assert "damaged bytes of the journal were left out" in text


def test_a_run_that_has_only_just_started(tmp_path):
    config = resolve_config().config
    run = RunFolder.create(tmp_path / "r", config)
    run.close()
    page = Page(write_report(run).read_text())
    assert "There are no figures yet" in page.text
    assert page.sources == []


def test_nulls_and_missing_parts_are_drawn_around(tmp_path):
    run = RunFolder.create(tmp_path / "r", resolve_config().config)
    run.event("episode", task="forward", robot_s=4.0, steps=200, speed_m_s=None, ended="fall")
    run.event("episode", task="forward", robot_s=None, steps=200, speed_m_s=0.1, start=[1, None, 0])
    run.event("stand_up", robot_s=5.0, ok=False)
    run.metric(robot_s=4.0, tasks={"forward": {"alpha": None, "lambda": [None]}, "backward": None})
    run.write_summary({"status": "failed"})
    run.close()
    page = Page(write_report(run).read_text())
    assert "learning_curves" in page.ids
    assert "unknown" in page.text


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl", "provenance.json"])
def test_a_damaged_file_is_named_and_nothing_is_written(tmp_path, name):
    run = make_fake_run(tmp_path / "r", episodes=2)
    (run.path / name).write_text("garbage\n{}\n")
    with pytest.raises(RunError, match=name):
        write_report(RunFolder.open(run.path))
    assert not (run.path / "report").exists()


# Machado, Oliveira and Fernandes 2009: complete protanopia, deuteranopia and tritanopia.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(colour):
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = SRGB_TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


PALETTES = {
    "tasks": TASK_COLOUR,
    "phases": PHASE_COLOUR,
    "legs": dict(zip(LEG_NAMES, LEG_COLOUR, strict=True)),
}


@pytest.mark.parametrize("eyes", DEFICIENCIES)
@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_colours_are_told_apart_by_everyone(palette, eyes):
    seen = {name: lab(DEFICIENCIES[eyes] @ linear(c)) for name, c in palette.items()}
    for a, b in combinations(seen, 2):
        # A just noticeable difference is about 2.3.
        assert np.linalg.norm(seen[a] - seen[b]) > 15, (a, b)


def test_colours_and_markers_suit_paper():
    for colour in TASK_COLOUR.values():
        luminance = float((SRGB_TO_XYZ @ linear(colour))[1])
        assert 1.05 / (luminance + 0.05) >= 3.0  # WCAG 2.1, 1.4.11: graphics on white
    assert len(set(TASK_MARKER.values())) == len(TASK_MARKER)

# SPDX-License-Identifier: MIT
"""The loop, whole, on the twin: what it counts, writes and never does."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from walkhome.hardware.robot import RobotError
from walkhome.hardware.rotation import quaternion
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.control.twin_plant import TwinPlant, make_twin
from walkhome.robot.evaluation.evaluate import EvaluationPlan, evaluate
from walkhome.robot.storage.journal import (
    FLAG_FIRST,
    FLAG_LAST,
    FLAG_START,
    PHASE_EPISODE,
    read_journal,
)
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.train import learn

SMALL = (
    "learning.batch_size=16",
    "learning.hidden_sizes=[16, 16]",
    "learning.random_steps=60",
    "learning.updates_per_step=1",
    "episode.length_s=1.0",
)


class Watcher:
    """A view that also looks at the twin's true base each time time passes."""

    def __init__(self):
        self.snapshots = []

    def update(self, snapshot):
        self.snapshots.append(snapshot)

    def message(self, text):
        pass

    def close(self):
        pass


def run_once(folder, *sets, minutes=0.25, stop=None, rig=None):
    config = resolve_config(overrides=[*SMALL, f"run.minutes={minutes}", *sets]).config
    watcher = Watcher()
    with RunFolder.create(folder, config) as run:
        summary = learn(config, run, watcher, stop or SimpleNamespace(requested=False), rig)
    return config, summary, watcher


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop") / "run"
    config, summary, watcher = run_once(folder)
    return SimpleNamespace(folder=folder, config=config, summary=summary, watcher=watcher)


def test_summary_is_complete_and_adds_up(finished):
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert summary == json.loads(json.dumps(finished.summary))
    assert summary["status"] == "done"
    minutes = summary["robot_minutes"]
    assert minutes["total"] >= 0.25
    parts = minutes["moving"] + minutes["standing_up"] + minutes["waiting"]
    assert parts == pytest.approx(minutes["total"])
    assert summary["steps"] == sum(task["steps"] for task in summary["tasks"].values())
    assert minutes["moving"] * 60 * 50 == pytest.approx(summary["steps"])
    assert summary["gradient_steps"] == summary["steps"] - 59  # one a step after the random ones


def test_journal_holds_every_period(finished):
    records = read_journal(finished.folder / "journal").records
    assert np.array_equal(records["index"], np.arange(len(records)))
    assert np.abs(records["action"]).max() <= 1.0
    assert all(np.isfinite(records[name]).all() for name in records.dtype.names)
    start = (records["flags"] & FLAG_START) > 0
    steps = records[(records["phase"] == PHASE_EPISODE) & ~start]
    assert np.array_equal(steps["step"], np.arange(1, finished.summary["steps"] + 1))
    first = (steps["flags"] & FLAG_FIRST) > 0
    last = (steps["flags"] & FLAG_LAST) > 0
    episodes = sum(task["episodes"] for task in finished.summary["tasks"].values())
    assert start.sum() == first.sum() == last.sum() == episodes
    assert np.array_equal(np.flatnonzero(first)[1:], np.flatnonzero(last)[:-1] + 1)
    seconds = 60.0 * finished.summary["robot_minutes"]["total"]
    assert (len(records) - episodes) * 0.02 == pytest.approx(seconds)
    assert (np.diff(records["robot_s"]) >= 0.0).all()
    assert records["robot_s"][-1] == pytest.approx(seconds)
    # A start is the posture before the first step, one period earlier.
    at = np.flatnonzero(start)
    after = at + 1
    np.testing.assert_allclose(records["time_s"][after] - records["time_s"][at], 0.02, atol=1e-9)
    assert (records["motor_angle"][at] != records["motor_angle"][after]).any(axis=1).all()
    moved = records["phase"] != PHASE_EPISODE
    assert np.ptp(records["motor_angle"][moved], axis=0).max() > 0.0


def test_events_tell_of_every_episode_and_stand_up(finished):
    events = [json.loads(line) for line in (finished.folder / "events.jsonl").open()]
    assert events[0]["event"] == "learn_start"
    assert events[-1]["event"] == "learn_end"
    episodes = [event for event in events if event["event"] == "episode"]
    assert [event["episode"] for event in episodes] == list(range(1, len(episodes) + 1))
    assert sum(event["event"] == "stand_up" for event in events) >= len(episodes)


def test_the_view_saw_the_end(finished):
    assert finished.watcher.snapshots[-1].steps == finished.summary["steps"]


def test_a_run_can_be_evaluated(finished):
    answer = evaluate(finished.folder, EvaluationPlan(episodes=1, seconds=1.0))
    assert set(answer["tasks"]) == {"forward", "backward"}
    assert answer["tasks"]["forward"]["episodes"] == 1


def test_evaluation_leaves_a_film_strip(finished):
    evaluate(finished.folder, EvaluationPlan(episodes=1, seconds=3.0, film=True))
    frames = sorted((finished.folder / "report" / "frames").glob("*.png"))
    # A policy that learned for seconds may fall before the camera has taken all of its pictures.
    assert frames or not any(task["speed_m_s"] for task in finished.summary["tasks"].values())
    assert all(frame.read_bytes().startswith(b"\x89PNG") for frame in frames)


def test_the_same_seed_gives_the_same_bytes(finished, tmp_path):
    run_once(tmp_path / "again")
    for name in ("000000.bin",):
        mine = (finished.folder / "journal" / name).read_bytes()
        assert mine == (tmp_path / "again" / "journal" / name).read_bytes()
    policies = [f / "policy.safetensors" for f in (finished.folder, tmp_path / "again")]
    assert policies[0].read_bytes() == policies[1].read_bytes()
    run_once(tmp_path / "other", "run.seed=1", minutes=0.05)
    other = (tmp_path / "other" / "journal" / "000000.bin").read_bytes()
    assert other[: len(mine)] != mine[: len(other)]


def test_the_robot_is_never_teleported(tmp_path):
    config = resolve_config(overrides=[*SMALL, "run.minutes=0.5"]).config
    rig = make_twin(config, 0)
    twin, places = rig.robot, []
    advance = twin.advance

    def watched(duration_s):
        advance(duration_s)
        places.append(twin.true_state().position_m)

    twin.advance = watched
    run_once(tmp_path / "run", minutes=0.5, rig=rig)
    jumps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert len(jumps) > 1000
    # 3 m/s for a period of 20 ms; a teleport between episodes would be far more.
    assert jumps.max() < 0.06


def biggest_jump_m(tmp_path, *keys):
    """The longest way that the twin's trunk went in one control period, and the summary."""
    config = resolve_config(overrides=[*SMALL, "run.minutes=0.3", *keys]).config
    rig = make_twin(config, 0)
    twin, places = rig.robot, []
    advance = twin.advance

    def watched(duration_s):
        advance(duration_s)
        places.append(twin.true_state().position_m)

    twin.advance = watched
    _, summary, _ = run_once(tmp_path / "run", *keys, minutes=0.3, rig=rig)
    return np.linalg.norm(np.diff(places, axis=0), axis=1).max(), summary


SMALL_ROOM = (
    "workspace.half_length_m=0.35",
    "workspace.half_width_m=0.35",
    "workspace.centre_radius_m=0.1",
    "workspace.margin_m=0.0",
)


def test_without_the_scheduler_the_robot_is_carried_home_and_that_is_counted(tmp_path):
    keys = (*SMALL_ROOM, "tasks=[forward]", "ablation.scheduler=false")
    # Slow noise of random weights drifts, and makes the robot leave so small a room.
    drift = (
        "learning.random_steps=100000",
        "learning.exploration_beta=2.0",
        "episode.length_s=4.0",
    )
    jump, summary = biggest_jump_m(tmp_path, *keys, *drift)
    assert summary["human_resets"] > 0
    assert summary["human_resets"] == summary["workspace_exits"]
    assert jump > 0.15


def test_a_teleported_robot_never_stands_up(tmp_path):
    jump, summary = biggest_jump_m(tmp_path, "ablation.reset=teleport", "episode.fall_roll_rad=0.2",
                                   "episode.fall_pitch_rad=0.2")  # fmt: skip
    assert summary["falls"] > 0
    assert summary["stand_ups"] == {"tried": 0, "failed": 0}
    assert summary["robot_minutes"]["standing_up"] == summary["human_resets"] == 0
    assert summary["robot_minutes"]["moving"] == summary["robot_minutes"]["total"]
    assert jump < 0.3  # set on its feet where it is


def test_what_only_ablations_ask_for_is_refused_on_anything_but_their_twin(tmp_path):
    keys = ("ablation.reset=teleport",)
    rig = make_twin(resolve_config(overrides=SMALL).config, 0)  # of a configuration without it
    with pytest.raises(RobotError, match="only moves by its motors"):
        run_once(tmp_path / "a", *keys, minutes=0.05, rig=rig)

    class Board:
        """A robot that nobody can carry: all of the twin but that."""

        def __init__(self, twin):
            self._twin = twin

        def __getattr__(self, name):
            if name in ("carry", "state_dict", "load_state_dict"):
                raise AttributeError(name)
            return getattr(self._twin, name)

    for key in (*keys, "ablation.scheduler=false"):
        rig = make_twin(resolve_config(overrides=[*SMALL, key]).config, 0)
        rig = TwinPlant(Board(rig.robot), rig.pose, rig.clock, 0.025)
        with pytest.raises(RobotError, match="for the twin"):
            run_once(tmp_path / key, key, minutes=0.05, rig=rig)
        assert not list((tmp_path / key / "journal").iterdir())  # before anything moves


def test_a_shared_network_learns_all_tasks_and_can_be_evaluated(tmp_path):
    four = ("learning.shared_network=true", "tasks=[forward, backward, left, right]")
    _, summary, _ = run_once(tmp_path / "run", *four, minutes=0.1)
    assert summary["gradient_steps"] > 0
    result = evaluate(tmp_path / "run", EvaluationPlan(episodes=1, seconds=0.5))
    assert set(result["tasks"]) == set(summary["tasks"])


def test_a_stop_saves_and_says_so(tmp_path):
    class Soon:
        asked = 0

        @property
        def requested(self):
            self.asked += 1
            return self.asked > 200

    _, summary, _ = run_once(tmp_path / "run", minutes=5, stop=Soon())
    assert summary["status"] == "interrupted"
    assert (tmp_path / "run" / "policy.safetensors").is_file()
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("minutes", [0.02, 5.0])
def test_a_twin_that_cant_stand_needs_help_however_late_it_is(tmp_path, minutes):
    rig = make_twin(resolve_config(overrides=["sim.strength=0.2"]).config, seed=0)
    rig.robot.place(np.array([0.0, 0.0, 0.3]), quaternion(roll_rad=np.pi), None)
    _, summary, _ = run_once(tmp_path / "run", minutes=minutes, rig=rig)
    assert summary["status"] == "needs_help"
    assert summary["steps"] == 0
    assert summary["stand_ups"]["failed"] == summary["stand_ups"]["tried"] > 0


@pytest.mark.parametrize("terrain", ["mattress", "doormat"])
def test_other_terrains_run(tmp_path, terrain):
    _, summary, _ = run_once(tmp_path / "run", f"terrain={terrain}", minutes=0.1)
    assert summary["terrain"] == terrain
    assert summary["steps"] > 0


def test_four_tasks_and_the_papers_margin(tmp_path):
    _, summary, _ = run_once(
        tmp_path / "run",
        "tasks=[forward, backward, left, right]",
        "constraint.form=margin",
        "constraint.kind=dual",
        "constraint.lambda_min=0",
        minutes=0.2,
    )
    assert set(summary["tasks"]) == {"forward", "backward", "left", "right"}


def test_a_fall_that_counts_raises_the_multiplier_by_more(tmp_path):
    frail = ("episode.fall_pitch_rad=0.1", "constraint.pitch_limit_rad=0.02",
             "constraint.lambda_min=0", "learning.random_steps=100000")  # fmt: skip
    after: dict[str, list[float]] = {}
    for kind in ("ignored", "counted"):
        run_once(tmp_path / kind, *frail, f"constraint.after_fall={kind}")
        lines = (tmp_path / kind / "events.jsonl").read_text().splitlines()
        episodes = [e for e in map(json.loads, lines) if e["event"] == "episode"]
        after[kind] = next(e["lambda"] for e in episodes if e["ended"] == "fall")
    assert after["counted"][0] > 1.5 * after["ignored"][0] > 0.0

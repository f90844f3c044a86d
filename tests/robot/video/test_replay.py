# SPDX-License-Identifier: MIT
"""Replay and film: frames of a recorded episode, playback speed, valid MP4 files."""

import math
import re
import resource
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pybullet
import pytest
from bodies import MINITAUR
from fake_run import STEPS, make_fake_run
from twins import make_terrain
from typer.testing import CliRunner

from walkhome.hardware.rotation import quaternion
from walkhome.robot.cli.app import app
from walkhome.robot.storage.journal import (
    FLAG_FALL,
    FLAG_START,
    PHASE_EPISODE,
    PHASE_STAND_UP,
    RECORD,
)
from walkhome.robot.storage.journal_writer import JournalWriter
from walkhome.robot.storage.recorded_episodes import find_episode
from walkhome.robot.storage.run_folder import RunError
from walkhome.robot.video.mp4 import Mp4Writer, VideoError
from walkhome.robot.video.overlay import Caption, draw_caption
from walkhome.robot.video.replay import film_episode, show_episode
from walkhome.sim.render import Stage


def streams(path):
    """Return ffmpeg's description of a film."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path, "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def read_back(path):
    """Return all pictures of a film."""
    frames = imageio_ffmpeg.read_frames(str(path))
    width, height = next(frames)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames]


@pytest.fixture
def run(tmp_path):
    """A stand-up, an episode that ends in a fall, another stand-up, a good episode."""
    made = make_fake_run(tmp_path / "run", episodes=0, journal=False)
    empty = {name: np.zeros(RECORD[name].shape) for name in RECORD.names if name != "index"}
    stance = MINITAUR.stance_motor_rad()
    with JournalWriter(made.journal) as writer:
        for episode, flag in ((0, FLAG_FALL), (1, 0)):
            common = {**empty, "episode": episode, "motor_angle": stance}
            for _ in range(25):
                writer.append(**{**common, "phase": PHASE_STAND_UP, "task": -1})
            common |= {"phase": PHASE_EPISODE, "task": episode}
            writer.append(**{**common, "flags": FLAG_START, "pose": (0.0, 0.0, 3.1)})
            for step in range(1, 51):
                yaw = (3.1 + 0.01 * step + math.pi) % (2 * math.pi) - math.pi  # through pi
                writer.append(
                    **{
                        **common,
                        "flags": flag * (step == 50),
                        "pose": (0.01 * step, 0.0, yaw),
                        "attitude": (0.0, 0.02 * step * episode),
                        "action": np.full(8, 0.5),
                        "filtered": np.full(8, 0.25),
                    }
                )
    return made


def test_an_episode_is_found_with_its_task_and_end(run):
    first, last = find_episode(run, 1), find_episode(run, -1)
    assert (first.number, first.task, first.ended) == (1, "forward", "fall")
    assert (last.number, last.task, last.ended) == (2, "backward", "time")
    assert len(first.records) == 51
    whole = find_episode(run, 2, with_stand_up=True)
    assert len(whole.records) == 76
    assert whole.times_s()[0] == pytest.approx(-0.5)
    assert whole.times_s()[25] == 0.0


def test_a_roll_out_that_a_fault_ended_is_not_the_episode(run):
    empty = {name: np.zeros(RECORD[name].shape) for name in RECORD.names if name != "index"}
    with JournalWriter(run.journal, first_record=152) as writer:
        for attempt, steps in ((0, 30), (1, 10)):
            common = {**empty, "episode": 2}
            for _ in range(5):
                writer.append(**{**common, "phase": PHASE_STAND_UP, "task": -1})
            common |= {"phase": PHASE_EPISODE, "task": attempt}
            writer.append(**{**common, "flags": FLAG_START})
            for _ in range(steps):
                writer.append(**common)
    last = find_episode(run, 3)
    assert (last.task, len(last.records)) == ("backward", 11)
    whole = find_episode(run, 3, with_stand_up=True)
    assert len(whole.records) == 16
    assert whole.times_s()[0] == pytest.approx(-0.1)


def test_speed_and_interpolation_between_records(run):
    episode = find_episode(run, 1)
    frames = list(episode.frames(0.005))  # four per record
    assert len(frames) == 201
    x = [frame.pose[0] for frame in frames]
    np.testing.assert_allclose(np.diff(x), 0.0025, atol=1e-6)
    yaw = np.array([frame.pose[2] for frame in frames])
    assert np.abs(np.diff(yaw)).max() < 0.01  # never the long way round
    assert len(list(episode.frames(0.08))) == 13
    # The first posture shows the first action, not zeros.
    assert frames[0].action[0] == pytest.approx(0.5)


def test_no_such_episode_and_no_journal(run, tmp_path):
    with pytest.raises(RunError, match="has episodes 1 to 2"):
        find_episode(run, 3)
    for number in (0, -3):
        with pytest.raises(RunError, match="has episodes 1 to 2"):
            find_episode(run, number)
    bare = make_fake_run(tmp_path / "bare", episodes=0, journal=False)
    with pytest.raises(RunError, match="no journal"):
        find_episode(bare, 1)


def test_the_film_is_h264_for_browsers_and_as_long_as_it_should_be(run, tmp_path):
    path, shares = tmp_path / "out" / "walk.mp4", []
    film_episode(
        find_episode(run, 2), run.config, path, 2.0, lambda text, share: shares.append(share)
    )
    told = streams(path)
    assert "Video: h264" in told
    assert "yuv420p" in told
    assert "640x480" in told
    pictures = read_back(path)
    assert len(pictures) == 13  # 1 s at twice the pace, 25 pictures a second
    assert shares == sorted(shares)
    assert len(shares) == 13
    # `moov` in front of `mdat`: a browser can start before it has everything.
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    # The camera follows: the robot stays, the ground goes.
    assert np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 2.0
    assert list(path.parent.iterdir()) == [path]


def test_a_film_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"older")
    monkeypatch.setattr("walkhome.robot.video.replay.draw_caption", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        film_episode(find_episode(run, 1), run.config, path)
    assert path.read_bytes() == b"older"
    assert [p for p in tmp_path.iterdir() if p.suffix == ".mp4"] == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match="can't be written"):
        Mp4Writer(tmp_path / "file" / "walk.mp4", 25.0)


def test_a_film_that_is_stopped_leaves_nothing(run, tmp_path):
    asked = []

    def stopped():
        asked.append(True)
        return len(asked) > 3

    path = tmp_path / "out" / "walk.mp4"
    film_episode(find_episode(run, 2), run.config, path, stopped=stopped)
    assert len(asked) == 4
    assert not list(path.parent.iterdir())


def test_a_film_that_ffmpeg_could_not_finish_is_none(tmp_path):
    """ffmpeg writes most of a short film at its end; imageio-ffmpeg ignores its exit code."""
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"older")
    film = Mp4Writer(path, 25.0, (320, 240))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(_child("ffmpeg"), resource.RLIMIT_FSIZE, (8192, before[1]))  # a full disk
    for _ in range(20):
        film.add(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    with pytest.raises(VideoError, match="ffmpeg wrote no film; is the disk full"):
        film.close()
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def _child(name):
    """Return the child process of that name."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().startswith(name):
                return int(pid)
    raise AssertionError(name)


def test_an_ffmpeg_that_does_not_start_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(VideoError, match="does not start"):
        Mp4Writer(tmp_path / "out" / "walk.mp4", 25.0)
    assert not list((tmp_path / "out").iterdir())


def test_a_wrong_picture_is_refused(tmp_path):
    film = Mp4Writer(tmp_path / "a.mp4", 25.0, (32, 16))
    with pytest.raises(ValueError, match="expected a uint8 picture"):
        film.add(np.zeros((32, 16, 3), np.uint8))
    film.discard()
    assert not list(tmp_path.iterdir())


def test_the_model_touches_the_ground_in_any_attitude():
    stage = Stage(make_terrain(), 32, 24)
    try:
        for roll, pitch in ((0, 0), (0.4, 0.2), (math.pi, 0), (math.pi / 2, 0)):
            stage.put(
                1.0,
                2.0,
                quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=0.5),
                MINITAUR.stance_motor_rad(),
            )
            feet = stage._puppet.foot_positions()[..., 2].min()
            assert feet > -1e-6
            if abs(roll) < 1:
                assert feet == pytest.approx(0.0, abs=1e-6)
            np.testing.assert_allclose(stage._place_m[:2], [1.0, 2.0])
            assert 0.0 < stage._place_m[2] < 0.5
    finally:
        stage.close()


@pytest.mark.parametrize("terrain", [make_terrain(), make_terrain(kind="soft")])
def test_a_robot_that_walks_far_still_walks_on_its_ground(terrain):
    stage = Stage(terrain, 64, 48)
    try:
        pictures = []
        for x_m in (0.0, 9.0, -14.0, 0.0):
            stage.put(x_m, 0.3, quaternion(), MINITAUR.stance_motor_rad())
            pictures.append(stage.shot())
            below = pictures[-1][30:]  # nothing but ground and feet
            assert (below.min(axis=2) > 250).sum() == 0  # the sky is white
        np.testing.assert_array_equal(pictures[0][30:], pictures[3][30:])
    finally:
        stage.close()


@pytest.fixture
def no_display_needed(monkeypatch):
    """Replace PyBullet's window by rendering without a display."""
    monkeypatch.setattr("walkhome.sim.render.pybullet.GUI", pybullet.DIRECT)


def test_a_window_shows_the_episode_at_its_pace(run, no_display_needed, monkeypatch):
    seen, waits = [], []
    monkeypatch.setattr(Stage, "write", lambda self, lines: seen.append(lines))
    monkeypatch.setattr("walkhome.robot.video.replay.time.sleep", waits.append)
    show_episode(find_episode(run, 2), run.config, 0.5, lambda: False)
    assert len(waits) == 51  # 1 s at half the pace, 25 pictures a second
    assert waits[-1] == pytest.approx(51 / 25, abs=0.5)
    assert 8 <= len(seen) <= 11  # text every 0.2 s of the clock
    assert seen[0][0] == "backward"
    assert "episode 2" in seen[0][1]
    assert "pitch +0 deg" in seen[0][-2]
    assert int(re.search(r"pitch \+(\d+) deg", seen[-1][-2])[1]) > 45  # 1 rad at the end
    assert seen[0][-1] == "action" + " +0.5" * 8


def test_a_window_that_is_closed_ends_it_quietly(run, no_display_needed, monkeypatch):
    stages = []
    put = Stage.put

    def then_close(self, *arguments):
        stages.append(self)
        put(self, *arguments)
        if len(stages) == 3:
            pybullet.disconnect(physicsClientId=self._client)

    monkeypatch.setattr(Stage, "put", then_close)
    monkeypatch.setattr("walkhome.robot.video.replay.time.sleep", lambda seconds: None)
    show_episode(find_episode(run, 2), run.config, 1.0, lambda: False)
    assert len(stages) <= 4


def test_a_replay_can_be_stopped(run, no_display_needed):
    show_episode(find_episode(run, 2), run.config, 0.05, lambda: True)  # 20 s otherwise


def blue_share(picture, box):
    top, bottom, left, right = box
    part = picture[top:bottom, left:right].astype(int)
    return float((part[..., 2] > part[..., 0] + 30).mean())


def test_the_overlay_shows_attitude_and_actions():
    plain = np.full((480, 640, 3), 128, np.uint8)
    level = draw_caption(plain, Caption("forward", ("1.0 s",)))
    assert level.shape == plain.shape
    assert (plain == 128).all()
    assert np.abs(level[10:60, 10:150].astype(int) - 128).max() > 50  # the title
    assert (level[300:] == 128).all()  # no action, no bars
    horizon = {"left": (20, 104, 535, 575), "right": (20, 104, 581, 621)}
    down = draw_caption(plain, Caption("x", pitch_rad=0.4))
    rolled = draw_caption(plain, Caption("x", roll_rad=0.5))
    sky = {name: blue_share(level, box) for name, box in horizon.items()}
    assert sky["left"] == pytest.approx(sky["right"], abs=0.05)
    # Nose down: less sky. Right side down: the ground comes up on the right.
    assert blue_share(down, horizon["left"]) < sky["left"] - 0.1
    assert blue_share(rolled, horizon["right"]) < blue_share(rolled, horizon["left"]) - 0.2
    bars = draw_caption(plain, Caption("x", action=np.ones(8), filtered=np.full(8, 0.5)))
    assert np.abs(bars[380:470, 10:270].astype(int) - 128).max() > 50


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_films_an_episode(tmp_path):
    run = make_fake_run(tmp_path / "run", episodes=2)
    path = tmp_path / "it.mp4"
    result = invoke("replay", run.path, "--episode", 2, "--speed", 4, "--video", path)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(path)
    assert len(read_back(path)) == math.ceil((STEPS - 1) * 0.02 / (4 / 25) + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--port", "/dev/x"], "confirm with --on-robot"),
        (["--on-robot"], "needs the robot's --port too"),
        (["--port", "/dev/x", "--on-robot"], "records of it are missing"),
        (["--port", "/dev/x", "--on-robot", "--episode", "9"], "has episodes 1 to 2"),
        (["--port", "/dev/x", "--on-robot", "--speed", "2"], "--speed is for the display"),
        (["--port", "/dev/x", "--on-robot", "--video", "x.mp4"], "--video is for the display"),
        (["--port", "/dev/x", "--on-robot", "--set", "run.seed=3"], "only keys of `board`"),
        (["--set", "board.silence_s=0.2"], "is for --port only"),
        (["--video", "x.avi"], "ends in .mp4"),
        (["--episode", "9", "--video", "x.mp4"], "has episodes 1 to 2"),
        (["--speed", "nan"], "--speed"),
        (["--speed", "0"], "--speed"),
        ([], "no display"),
    ],
)
def test_what_can_t_be_replayed_is_refused(tmp_path, monkeypatch, arguments, part):
    run = make_fake_run(tmp_path / "run", episodes=2)
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = invoke("replay", run.path, *arguments)
    assert result.exit_code == 2, result.output
    assert part in result.stderr
    assert result.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]

# SPDX-License-Identifier: MIT
"""Replays a recorded episode with the twin's renderer, as a film or in a window.

    journal  ->  `Episode.frames`  ->  `Stage` (rendering)  ->  MP4 file or PyBullet's window

Nothing is simulated: the model is placed at the recorded pose, attitude and motor angles. The
trunk's height is not recorded, so the model's lowest point is placed on the ground.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybullet

from walkhome.hardware.robot import RobotError
from walkhome.hardware.rotation import quaternion
from walkhome.robot.config.schema import Config
from walkhome.robot.storage.journal import PHASE_EPISODE, PHASE_STAND_UP
from walkhome.robot.storage.recorded_episodes import Episode, Frame
from walkhome.robot.video.mp4 import Mp4Writer
from walkhome.robot.video.overlay import Caption, draw_caption
from walkhome.sim.render import Stage
from walkhome.sim.terrain import Terrain

FPS = 25.0
TEXT_EVERY_S = 0.2  # time between texts in the window, where drawing text is slow
_DOING = {PHASE_EPISODE: "", PHASE_STAND_UP: "standing up"}


def film_episode(
    episode: Episode,
    config: Config,
    path: Path,
    speed: float = 1.0,
    progress: Callable[[str, float], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Film an episode into an MP4 file; leaves no file if it is stopped.

    Args:
        episode: the recorded episode.
        config: configuration of its run, for the terrain.
        path: path of the .mp4 file.
        speed: playback speed; 1 is real time, 0.25 slow motion.
        progress: called with the file's name and the completed share, 0 to 1.
        stopped: returns True to stop; called before every picture.

    Raises:
        ImportError: imageio-ffmpeg is not installed.
        VideoError: the film cannot be written.
    """
    video = Mp4Writer(path, FPS)
    stage = Stage(Terrain(**config.terrain.model_dump()))
    try:
        frames = list(episode.frames(speed / FPS))
        for number, frame in enumerate(frames):
            if stopped():
                video.discard()
                return
            if progress is not None:
                progress(path.name, number / len(frames))
            _put(stage, frame)
            video.add(draw_caption(stage.shot(), _caption(episode, frame, speed)))
    except BaseException:
        video.discard()
        raise
    finally:
        stage.close()
    video.close()


def show_episode(
    episode: Episode,
    config: Config,
    speed: float,
    stopped: Callable[[], bool],
) -> None:
    """Show an episode in PyBullet's window, until its end or until the window is closed.

    Args:
        episode: the recorded episode.
        config: configuration of its run, for the terrain.
        speed: playback speed; 1 is real time, 0.25 slow motion.
        stopped: returns True to stop; called before every picture.

    Raises:
        RobotError: the window does not open.
    """
    terrain = Terrain(**config.terrain.model_dump())
    try:
        stage = Stage(terrain, window=True)
    except pybullet.error as error:
        raise RobotError(f"PyBullet can't open a window: {error}; is there a display?") from None
    try:
        begin_s, said_s = time.monotonic(), -1e9
        for number, frame in enumerate(episode.frames(speed / FPS)):
            if stopped():
                return
            _put(stage, frame)
            stage.follow()
            if frame.time_s - said_s >= TEXT_EVERY_S * speed:
                said_s = frame.time_s
                stage.write(
                    (_title(episode, frame), *_lines(episode, frame, speed), *_angles(frame))
                )
            time.sleep(max(0.0, begin_s + (number + 1) / FPS - time.monotonic()))
    except pybullet.error:
        return  # the window was closed
    finally:
        stage.close()


def _put(stage: Stage, frame: Frame) -> None:
    roll, pitch = (float(angle) for angle in frame.attitude)
    x, y, yaw = (float(value) for value in frame.pose)
    stage.put(x, y, quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw), frame.motor_rad)


def _angles(frame: Frame) -> tuple[str, str]:
    """Attitude and action as text; the window can't draw them as a caption does."""
    roll, pitch = np.degrees(frame.attitude)
    asked = " ".join(f"{value:+.1f}" for value in frame.action)
    return f"roll {roll:+.0f}  pitch {pitch:+.0f} deg", f"action {asked}"


def _title(episode: Episode, frame: Frame) -> str:
    return _DOING.get(frame.phase) or episode.task


def _lines(episode: Episode, frame: Frame, speed: float) -> tuple[str, ...]:
    pace = "" if speed == 1.0 else f"   {speed:g}x"
    return (
        f"episode {episode.number}   {frame.time_s:.1f} s{pace}",
        f"x {frame.pose[0]:+.2f}  y {frame.pose[1]:+.2f} m",
        f"ends by: {episode.ended}",
    )


def _caption(episode: Episode, frame: Frame, speed: float) -> Caption:
    roll, pitch = (float(angle) for angle in frame.attitude)
    acts = frame.phase == PHASE_EPISODE
    return Caption(
        _title(episode, frame),
        _lines(episode, frame, speed),
        roll,
        pitch,
        frame.action if acts else None,
        frame.filtered if acts else None,
    )

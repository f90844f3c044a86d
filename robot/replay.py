# SPDX-License-Identifier: MIT
"""`robot replay`: an episode as the journal has it, drawn with the twin's renderer.

Nothing is simulated again: the puppet takes the recorded pose, attitude and motor angles. How high
the trunk was is not recorded, so the puppet stands with its lowest point on the ground.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybullet

from hardware.robot import RobotError
from hardware.rotation import quaternion
from robot.config import Config
from robot.journal import (
    FLAG_EXIT,
    FLAG_FALL,
    FLAG_START,
    FLAG_STOP,
    PHASE_EPISODE,
    PHASE_STAND_UP,
    JournalError,
    read_journal,
)
from robot.overlay import Caption, write_over
from robot.run import RunError, RunFolder
from robot.video import Mp4
from sim.render import Stage
from sim.terrain import Terrain

FloatArray = npt.NDArray[np.float64]

FPS = 25.0
TEXT_EVERY_S = 0.2  # in the window; text is slow there
_ENDED = ((FLAG_FALL, "fall"), (FLAG_EXIT, "exit"), (FLAG_STOP, "stop"))
_DOING = {PHASE_EPISODE: "", PHASE_STAND_UP: "standing up"}


@dataclass(frozen=True)
class Frame:
    """One moment of an episode.

    Attributes:
        time_s: since its start; of the stand-up before it, negative.
        pose: x, y (m), yaw (rad), world frame; yaw does not jump at pi.
        attitude: roll, pitch, rad.
        motor_rad: (8,) motor angles.
        action: (8,) what the policy asked for.
        filtered: (8,) after the low-pass.
        phase: as in the journal.
    """

    time_s: float
    pose: FloatArray
    attitude: FloatArray
    motor_rad: FloatArray
    action: FloatArray
    filtered: FloatArray
    phase: int


@dataclass(frozen=True)
class Episode:
    """A recorded episode.

    Attributes:
        number: counted from 1.
        task: its name.
        ended: by what: fall, exit, stop or time.
        records: of the journal; the stand-up before it too, if that was asked for.
        period_s: of a record.
    """

    number: int
    task: str
    ended: str
    records: npt.NDArray[Any]
    period_s: float

    def times_s(self) -> FloatArray:
        """(n,) of the records; 0 is the first posture of the episode itself."""
        first = int(np.argmax(self.records["phase"] == PHASE_EPISODE))
        return np.asarray((np.arange(len(self.records)) - first) * self.period_s, dtype=np.float64)

    def frames(self, step_s: float) -> Iterator[Frame]:
        """Moments `step_s` apart, straight lines between the recorded ones."""
        times, rows = self.times_s(), self.records
        # One table, one interpolation; yaw must not run through 0 from pi to -pi.
        pose = rows["pose"].copy()
        pose[:, 2] = np.unwrap(pose[:, 2])
        table = np.hstack(
            [pose, *(rows[name] for name in ("attitude", "motor_angle", "action", "filtered"))]
        ).astype(np.float64)
        for time_s in np.arange(times[0], times[-1] + 1e-9, step_s):
            after = min(int(np.searchsorted(times, time_s)), len(times) - 1)
            before = max(after - 1, 0)
            part = (time_s - times[before]) / self.period_s if after > before else 0.0
            row = (1.0 - part) * table[before] + part * table[after]
            phase = int(rows["phase"][before if part < 0.5 else after])
            pose_now, attitude, motor_rad, action, filtered = np.split(row, [3, 5, 13, 21])
            yield Frame(float(time_s), pose_now, attitude, motor_rad, action, filtered, phase)


def find_episode(run: RunFolder, number: int, with_stand_up: bool = False) -> Episode:
    """One episode of a run's journal.

    Args:
        run: open for reading.
        number: counted from 1; -1 is the last.
        with_stand_up: take the stand-up before it too.

    Raises:
        RunError: no journal, or no such episode in it.
    """
    try:
        records = read_journal(run.journal).records
    except JournalError as error:
        raise RunError(str(error)) from None
    is_episode = records["phase"] == PHASE_EPISODE
    numbers = np.unique(records["episode"][is_episode]) + 1
    if not len(numbers):
        raise RunError(f"{run.journal}: no episode in it yet; let the run go on")
    wanted = int(numbers[number]) if -len(numbers) <= number < 0 else number
    if wanted not in numbers:
        raise RunError(f"--episode {number}: {run.path} has episodes {numbers[0]} to {numbers[-1]}")
    chosen = records["episode"] == wanted - 1
    own = records[chosen & is_episode]
    if with_stand_up:
        own = records[chosen & (is_episode | (records["phase"] == PHASE_STAND_UP))]
    flags = int(np.bitwise_or.reduce(own["flags"]))
    ended = next((words for flag, words in _ENDED if flags & flag), "time")
    tasks = own["task"][own["phase"] == PHASE_EPISODE]
    task = run.config.tasks[int(tasks[0])]
    # The posture at the start has no step before it, and none of its actions were taken.
    start = np.flatnonzero(own["flags"] & FLAG_START)
    if len(start):
        own = own.copy()
        after = min(int(start[0]) + 1, len(own) - 1)
        for name in ("action", "filtered"):
            own[name][start[0]] = own[name][after]
    return Episode(wanted, task, ended, own, 1.0 / run.config.control.rate_hz)


def film_episode(
    episode: Episode,
    config: Config,
    path: Path,
    speed: float = 1.0,
    progress: Callable[[str, float], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Film it; no file is left if somebody stops that.

    Args:
        episode: what to show.
        config: of its run: body and terrain.
        path: of the .mp4.
        speed: 1 is the robot's own pace, 0.25 slow motion.
        progress: told the share that is done.
        stopped: asked before every picture.

    Raises:
        VideoError: the film can't be written.
    """
    video = Mp4(path, FPS)
    stage = Stage(Terrain(**config.terrain.model_dump()), config.robot.to_body())
    try:
        frames = list(episode.frames(speed / FPS))
        for number, frame in enumerate(frames):
            if stopped():
                video.discard()
                return
            if progress is not None:
                progress(path.name, number / len(frames))
            _put(stage, frame)
            video.add(write_over(stage.shot(), _caption(episode, frame, speed)))
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
    """Show it in PyBullet's window, at its pace, until the end or until somebody closes the window.

    Raises:
        RobotError: the window does not open.
    """
    terrain, body = Terrain(**config.terrain.model_dump()), config.robot.to_body()
    try:
        stage = Stage(terrain, body, window=True)
    except pybullet.error as error:
        raise RobotError(f"PyBullet opens no window: {error}") from None
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
    stage.put(x, y, quaternion(roll, pitch, yaw), frame.motor_rad)


def _angles(frame: Frame) -> tuple[str, str]:
    """Attitude and action in figures, for a window that can't draw them."""
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

# SPDX-License-Identifier: MIT
"""An invented run folder, as a learning run would leave it, for tests of its readers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.config.schema import Config
from walkhome.robot.storage.journal import FLAG_FIRST, FLAG_LAST
from walkhome.robot.storage.journal_writer import JournalWriter
from walkhome.robot.storage.run_folder import RunFolder

HEADING = {"forward": 0.0, "backward": math.pi, "left": 0.0, "right": 0.0}
ENDINGS = ("timeout", "fall", "exit")
STEPS = 40  # per episode; a real one has 200


def make_fake_run(
    path: Path,
    *,
    tasks: tuple[str, ...] = ("forward", "backward"),
    episodes: int = 60,
    summary: bool = True,
    journal: bool = True,
    seed: int = 0,
) -> RunFolder:
    """Write a run in which the robot first falls and at the end walks at 0.3 m/s."""
    config = resolve_config(flags={"terrain": "mattress", "tasks": list(tasks)}).config
    run = RunFolder.create(path, config, ["robot", "learn"])
    rng = np.random.default_rng(seed)
    run.event("learn_start", tasks=list(tasks), seed=0)
    counts = {name: dict.fromkeys(ENDINGS, 0) for name in tasks}
    clock = {"moving": 0.0, "standing_up": 0.0, "waiting": 0.0}
    writer = JournalWriter(run.journal) if journal else None
    steps = 0
    for number in range(episodes):
        progress = number / episodes
        task = tasks[number % len(tasks)]
        if rng.random() < 0.5 * (1 - progress):
            clock["standing_up"] += 3.0
            clock["waiting"] += 1.0
            run.event("stand_up", robot_s=sum(clock.values()), seconds=4.0, attempts=2, ok=True)
        weights = np.array([0.5 + progress, 0.6 * (1 - progress), 0.15])
        ended = ENDINGS[rng.choice(3, p=weights / weights.sum())]
        counts[task][ended] += 1
        steps += STEPS
        clock["moving"] += 4.0
        _episode(run, config, rng, number, task, ended, sum(clock.values()), steps)
        if writer is not None:
            _records(writer, config, rng, number, task, steps, progress)
        run.metric(
            robot_s=sum(clock.values()),
            wall_s=2 * sum(clock.values()),
            steps=steps,
            gradient_steps=2 * steps,
            tasks={
                name: {
                    "alpha": 0.1 * math.exp(-(2 + index) * progress),
                    "lambda": [3 * progress + 0.3 * index, progress * index],
                }
                for index, name in enumerate(tasks)
            },
            **{f"{phase}_s": seconds for phase, seconds in clock.items()},
        )
    if writer is not None:
        writer.close()
    if summary:
        run.write_summary(_summary(config, counts, clock, steps))
    run.close()
    return run


def _episode(
    run: RunFolder,
    config: Config,
    rng: np.random.Generator,
    number: int,
    task: str,
    ended: str,
    robot_s: float,
    steps: int,
) -> None:
    size = np.array([config.workspace.half_length_m, config.workspace.half_width_m])
    place = rng.uniform(-0.95, 0.95, 2) * size
    heading = math.atan2(-place[1], -place[0]) + rng.normal(0.0, 0.5)
    speed = 0.3 * number / 60 + rng.normal(0.0, 0.04)
    turn = {"left": 0.5, "right": -0.5}.get(task, 0.0) + rng.normal(0.0, 0.1)
    run.event(
        "episode",
        episode=number,
        task=task,
        robot_s=robot_s,
        wall_s=2 * robot_s,
        steps=STEPS,
        ended=ended,
        start=[*place.tolist(), heading - HEADING[task]],
        end=[size[0] * 1.02, place[1], 0.0] if ended == "exit" else [*place.tolist(), 0.0],
        speed_m_s=speed,
        turn_rate_rad_s=turn,
        mean_costs=[0.01, 0.0],
        alpha=0.1,
        **{"return": speed * 200, "lambda": [0.3, 0.1]},
    )


def _records(
    writer: JournalWriter,
    config: Config,
    rng: np.random.Generator,
    number: int,
    task: str,
    steps: int,
    progress: float,
) -> None:
    for step in range(STEPS):
        flags = FLAG_FIRST * (step == 0) | FLAG_LAST * (step == STEPS - 1)
        action = np.clip(rng.normal(0.0, 0.6, 8), -1, 1)
        writer.append(
            step=steps - STEPS + step,
            time_s=(steps + step) * 0.02,
            robot_s=(steps + step) * 0.02,
            episode=number,
            task=config.tasks.index(task),
            phase=0,
            flags=flags,
            observation_frame=rng.normal(size=21),
            action=action,
            filtered=0.6 * action,
            sent=2.0 + 0.3 * action,
            pose=rng.normal(size=3),
            attitude=rng.normal(0.0, 0.25 - 0.15 * progress, 2),
            costs=(0.01, 0.0),
            torque=rng.normal(0.0, 1.2, 8),
            battery=16.0,
            motor_angle=2.0 + 0.3 * action,
            features=rng.normal(size=7),
        )


def _summary(
    config: Config, counts: dict[str, dict[str, int]], clock: dict[str, float], steps: int
) -> dict[str, Any]:
    minutes = {phase: seconds / 60 for phase, seconds in clock.items()}
    return {
        "status": "done",
        "terrain": config.terrain.name,
        "seed": config.run.seed,
        "steps": steps,
        "gradient_steps": 2 * steps,
        "wall_seconds": 2 * sum(clock.values()),
        "cpu_seconds": 1.5 * sum(clock.values()),
        "robot_minutes": {"total": sum(minutes.values()), **minutes},
        "human_resets": 0,
        "falls": sum(task["fall"] for task in counts.values()),
        "workspace_exits": sum(task["exit"] for task in counts.values()),
        "stand_ups": {"tried": 20, "failed": 10},
        "tasks": {
            name: {
                "episodes": sum(task.values()),
                "steps": sum(task.values()) * STEPS,
                "falls": task["fall"],
                "workspace_exits": task["exit"],
                "speed_m_s": 0.29,
                "turn_rate_rad_s": 0.01,
            }
            for name, task in counts.items()
        },
    }

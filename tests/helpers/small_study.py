# SPDX-License-Identifier: MIT
"""A study whose runs take seconds, and one with invented runs."""

import json
from pathlib import Path

from fake_run import make_fake_run

from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.study import load_study
from walkhome.robot.config.resolve import config_to_yaml

SMALL = """
question: Does it matter?
base:
  learning: {batch_size: 16, hidden_sizes: [16, 16], updates_per_step: 1, random_steps: 60}
  run.checkpoint_every_s: 1.0
  episode.length_s: 0.6
variants: {one: {}, two: {learning.tau: 0.01}}
compare: [speed]
minutes: 0.25
evaluate: {episodes: 1, seconds: 0.5}
"""

MADE_UP = """
question: Is one better than two?
notes: Nobody knows.
base: {tasks: [forward, backward]}
variants: {one: {}, two: {learning.tau: 0.01}, three: {learning.tau: 0.5}}
compare: [speed, falls]
metrics: [beyond, duty]
curves: [speed, falls]
maps: [one, two]
evaluate: {terrains: [flat, mattress]}
"""


def write_study(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def made_up(tmp_path: Path, seeds: int = 5, speeds=(0.6, 0.3, 0.6)) -> StudyFolder:
    """A study with invented runs: these speeds per variant on every terrain, and a little noise."""
    study = load_study(write_study(tmp_path, MADE_UP), seeds=seeds, claims=seeds > 1)
    folder = StudyFolder(tmp_path / "out", study)
    folder.open()
    folder.close()
    for job in folder.jobs:
        run = folder.run_of(job)
        make_fake_run(run, episodes=8, seed=job.seed)
        (run / "config.yaml").write_text(config_to_yaml(job.config))
        speed = dict(zip(study.configs, speeds, strict=True))[job.variant]
        # The noise differs between variants, or paired differences would have no spread.
        noise = 0.01 * (job.seed * (1 + list(study.configs).index(job.variant)) % 5)
        task = {
            "speed_m_s": speed + noise,
            "turn_rate_rad_s": 0.0,
            "falls": 1,
            "episodes": 5,
            "straight_speed_m_s": speed,
            "return_per_step": speed,
        }
        terrains = {
            name: {"tasks": dict.fromkeys(("forward", "backward"), task)}
            for name in ("flat", "mattress")
        }
        (run / "evaluation.json").write_text(json.dumps({"terrains": terrains}))
    return folder


def bytes_of(run):
    """A run's policy, evaluation, newest learner and last episode, without wall-clock times."""
    events = (run / "events.jsonl").read_text().splitlines()
    episodes = [json.loads(line) for line in events if '"episode"' in line]
    for event in episodes:
        del event["wall_s"]
    newest = (run / "latest").read_text().strip()
    return (
        (run / "policy.safetensors").read_bytes(),
        (run / "evaluation.json").read_bytes(),
        (run / "checkpoints" / newest / "learner.safetensors").read_bytes(),
        [event for event in episodes if event["episode"] == episodes[-1]["episode"]][-1],
    )

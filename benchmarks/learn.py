# SPDX-License-Identifier: MIT
"""How soon does it walk? Learns on each terrain with several seeds and evaluates what came of it.

The goals (medians over seeds, twin with latency and noise): flat, forward + backward each >= 0.3
m/s within 8 robot minutes; flat, four tasks, >= 0.3 m/s and >= 0.4 rad/s within 15; mattress and
doormat, forward + backward >= 0.2 m/s within 15; no human reset; exits <= 5 % of the episodes.

A study takes about as long as seeds x minutes x 1.2 / jobs wall minutes (2 cores, 3 seeds, all four
studies: about one hour and a half). `--quick` is 0.3 robot minutes of one seed: it shows that the
benchmark runs, and measures nothing.

`--compare` is another question: which way of learning walks soonest (`comparison`)? 10 variants, 5
seeds, 8 robot minutes, flat, forward + backward; a finished run in `--out` is not made again. A run
takes 4 to 15 processor minutes, which the variant decides, all of them about 8 hours of one core.
It needs `pip install -r benchmarks/requirements.txt`; `--compare --quick` takes 3 to 10 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Study:
    """One terrain and set of tasks, with its goal."""

    name: str
    terrain: str
    tasks: str
    minutes: float
    speed_m_s: float
    turn_rate_rad_s: float


STUDIES = {
    study.name: study
    for study in (
        Study("flat", "flat", "forward,backward", 8.0, 0.3, 0.0),
        Study("flat4", "flat", "forward,backward,left,right", 15.0, 0.3, 0.4),
        Study("mattress", "mattress", "forward,backward", 15.0, 0.2, 0.0),
        Study("doormat", "doormat", "forward,backward", 15.0, 0.2, 0.0),
    )
}

STUDY_NAMES = ",".join(STUDIES)


def run_one(
    study: Study, seed: int, minutes: float, out: Path, extra: list[str], eval_episodes: int
) -> dict[str, object]:
    """Learn and evaluate once, as a user would: two commands."""
    folder = out / f"{study.name}-s{seed}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    robot = [sys.executable, "-m", "walkhome.robot.cli"]
    learn = [*robot, "learn", "--terrain", study.terrain, "--tasks", study.tasks, "--json"]
    learn += ["--minutes", str(minutes), "--seed", str(seed), "--run-dir", str(folder), *extra]
    with (out / f"{study.name}-s{seed}.log").open("w") as log:
        # 3: the robot asked for a person. That is a result, and a bad one, not a crash.
        code = subprocess.run(
            learn, check=False, env=environment, stdout=log, stderr=log
        ).returncode
        if code not in (0, 3):
            raise RuntimeError(f"robot learn left with {code}; see {log.name}")
    evaluate = [*robot, "eval", str(folder), "--json", "--episodes", str(eval_episodes)]
    answer = subprocess.run(evaluate, check=True, env=environment, capture_output=True, text=True)
    evaluation = json.loads(answer.stdout.strip().splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    episodes = sum(task["episodes"] for task in summary["tasks"].values())
    return {
        "seed": seed,
        "status": summary["status"],
        "robot_minutes": summary["robot_minutes"],
        "wall_minutes": summary["wall_seconds"] / 60.0,
        "steps": summary["steps"],
        "gradient_steps": summary["gradient_steps"],
        "falls": summary["falls"],
        "human_resets": summary["human_resets"],
        "exits_share": summary["workspace_exits"] / max(1, episodes),
        "stand_ups": summary["stand_ups"],
        "minutes_to_goal": minutes_to_goal(folder, study),
        "tasks": evaluation["tasks"],
    }


def minutes_to_goal(folder: Path, study: Study, window: int = 5) -> float | None:
    """Robot minutes until the last `window` training episodes of every task met the goal."""
    recent: dict[str, list[float]] = {task: [] for task in study.tasks.split(",")}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] != "episode":
            continue
        turns = event["task"] in ("left", "right")
        value = abs(event["turn_rate_rad_s"]) if turns else event["speed_m_s"]
        recent[event["task"]].append(value)
        goals = {
            t: study.turn_rate_rad_s if t in ("left", "right") else study.speed_m_s for t in recent
        }
        if all(
            len(values) >= window and sum(values[-window:]) / window >= goals[task]
            for task, values in recent.items()
        ):
            return float(event["robot_s"]) / 60.0
    return None


def measure(task: str, values: dict[str, float]) -> float:
    """The figure of a task: speed, or turn rate in the asked direction."""
    if task in ("left", "right"):
        return values["turn_rate_rad_s"] * (1.0 if task == "left" else -1.0)
    return values["speed_m_s"]


def report(study: Study, results: list[dict[str, object]]) -> dict[str, object]:
    """Print a table, one line a seed and the medians; returns the medians."""
    print(f"\n{study.name}: {study.tasks} on {study.terrain}")
    tasks = study.tasks.split(",")
    print(
        "seed  minutes  wall  falls  exits  human  to goal  " + "  ".join(f"{t:>9}" for t in tasks)
    )
    for r in results:
        figures = "  ".join(f"{measure(t, r['tasks'][t]):9.2f}" for t in tasks)
        goal = r["minutes_to_goal"]
        print(
            f"{r['seed']:4}  {r['robot_minutes']['total']:7.2f}  {r['wall_minutes']:4.1f}  "
            f"{r['falls']:5}  {r['exits_share']:5.1%}  {r['human_resets']:5}  "
            f"{'never' if goal is None else f'{goal:.2f}':>7}  {figures}  {r['status']}"
        )
    medians = {t: statistics.median(measure(t, r["tasks"][t]) for r in results) for t in tasks}
    print("median" + " " * 45 + "  ".join(f"{medians[t]:9.2f}" for t in tasks))
    met = all(
        medians[t] >= (study.turn_rate_rad_s if t in ("left", "right") else study.speed_m_s)
        for t in tasks
    )
    return {"medians": medians, "met": met, "runs": results}


def compare_methods(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """`--compare`; its exit code."""
    if options.set or options.first_seed or options.studies != STUDY_NAMES:
        parser.error("--compare has studies, seeds and settings of its own")
    from comparison import compare

    out = options.out or Path("runs/comparison-quick" if options.quick else "runs/comparison")
    seeds = options.seeds or 5
    quick, as_json = options.quick, options.json
    return compare(options.variants, seeds, options.minutes, options.jobs, out, quick, as_json)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", default=STUDY_NAMES)
    parser.add_argument("--compare", action="store_true", help="ways of learning, on flat ground")
    parser.add_argument("--variants", help="of --compare, comma-separated; all by default")
    parser.add_argument("--seeds", type=int, help="3, or 5 with --compare")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="robot minutes instead of each study's own")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="runs/benchmark, or runs/comparison[-quick]")
    parser.add_argument("--set", action="append", default=[], help="as for robot learn")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.compare:
        sys.exit(compare_methods(parser, options))
    if options.variants:
        parser.error("--variants is of --compare")
    options.out = options.out or Path("runs/benchmark")
    options.seeds = options.seeds or 3
    names = options.studies.split(",")
    unknown = [name for name in names if name not in STUDIES]
    if unknown:
        parser.error(f"unknown studies {unknown}; there are {sorted(STUDIES)}")
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
    options.out.mkdir(parents=True, exist_ok=True)
    extra = [argument for value in options.set for argument in ("--set", value)]
    report_object: dict[str, object] = {"benchmark": "learn", "studies": {}}
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {
            name: [
                pool.submit(
                    run_one,
                    STUDIES[name],
                    seed,
                    0.3 if options.quick else options.minutes or STUDIES[name].minutes,
                    options.out,
                    extra,
                    1 if options.quick else 5,
                )
                for seed in seeds
            ]
            for name in names
        }
        for name in names:
            results = [future.result() for future in futures[name]]
            report_object["studies"][name] = report(STUDIES[name], results)  # type: ignore[index]
    if options.json:
        print(json.dumps(report_object))


if __name__ == "__main__":
    main()

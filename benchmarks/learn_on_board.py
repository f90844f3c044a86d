# SPDX-License-Identifier: MIT
"""The whole of it: a robot learns on an emulated board, in real time, and things go wrong.

`robot emulate` and `robot learn --port` (flat, forward and backward), each in processes of their
own. A third on the way the cable is pulled for a second; at two thirds the learner's process is
killed. Nobody helps. How well it walks in the end is told by its roll-outs of the last two minutes
on the board, exploration and falls included, and then by `robot eval` of the policies in the twin,
which stands on other sensors' noise and has no wire.

Run: python benchmarks/learn_on_board.py [--minutes M] [--seed S] [--quick] [--json] [--keep FOLDER]
Takes as long as the robot minutes say, and a minute; --quick learns for one (and walks badly).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from board_process import ROBOT, board, child_of, environment, kill, start

GOAL_M_S = 0.3
IN_THE_END_S = 120.0
SLACK_S = 300.0


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Of a JSON-lines file; half a line at its end is left out."""
    if not path.is_file():
        return []
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def robot_s(run: Path) -> float:
    """How far the run is."""
    return max((float(m.get("robot_s", 0.0)) for m in lines_of(run / "metrics.jsonl")), default=0.0)


def disturb(process: subprocess.Popen[str], run: Path, board_pid: int, minutes: float) -> list[str]:
    """Pull the cable and kill the learner, each once; what was done."""
    done: list[str] = []
    end_s = time.monotonic() + 60.0 * minutes * 2.0 + SLACK_S
    while process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.5)
        now_s = robot_s(run)
        if len(done) == 0 and now_s > 20.0 * minutes:
            os.kill(board_pid, signal.SIGUSR1)
            done.append(f"cable pulled at {now_s:.0f} s")
        elif len(done) == 1 and now_s > 40.0 * minutes:
            learner = child_of(process.pid, "walkhome.robot.training.learner_process")
            if learner:
                kill([learner])
                done.append(f"learner killed at {now_s:.0f} s")
    if process.poll() is None:
        process.kill()
    process.wait()
    return done


def evaluate(run: Path, folder: Path) -> dict[str, Any]:
    """`robot eval`: per task."""
    command = [*ROBOT, "eval", str(run), "--json"]
    done = subprocess.run(
        command, env=environment(folder), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"robot eval: exit code {done.returncode}\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return dict(found["tasks"])


def walked(events: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Per task the last minutes' roll-outs on the board; after a fall the rest counts as 0."""
    outs = [e for e in events if e["event"] == "episode"]
    since_s = max((e["robot_s"] for e in outs), default=0.0) - IN_THE_END_S
    whole = max((e["steps"] for e in outs), default=1)
    tasks: dict[str, dict[str, float]] = {}
    for task in sorted({e["task"] for e in outs}):
        last = [e for e in outs if e["task"] == task and e["robot_s"] > since_s]
        falls = sum(e["ended"] == "fall" for e in last)
        ways = (
            e["speed_m_s"] * (e["steps"] / whole if e["ended"] == "fall" else 1.0) for e in last
        )
        tasks[task] = {
            "speed_m_s": sum(ways) / max(1, len(last)),
            "roll_outs": len(last),
            "falls": falls,
        }
    return tasks


def measure(minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """One run, and what came of it."""
    run = folder / "run"
    with board(folder, "--seed", str(seed)) as (port, log, board_pid):
        what = ("learn", "--port", port, "--terrain", "flat", "--tasks", "forward,backward")
        more = ("--minutes", minutes, "--seed", seed, "--run-dir", run, "--json")
        process = start(folder, *what, *more)
        done = disturb(process, run, board_pid, minutes)
        if not (run / "summary.json").is_file():
            raise SystemExit(f"robot learn:\n{(folder / 'said').read_text()[-2000:]}")
        pulled = len(log.since(0.0, "unplugged"))
    summary = json.loads((run / "summary.json").read_text())
    of, learner = summary["board"], summary["learner"]
    events = lines_of(run / "events.jsonl")
    stale = [m["learner"]["behind_s"] for m in lines_of(run / "metrics.jsonl") if "learner" in m]
    on_board, tasks = walked(events), evaluate(run, folder)
    return {
        "exit_code": process.returncode,
        "status": summary["status"],
        "disturbed": done,
        "unplugged": pulled,
        "robot_minutes": summary["robot_minutes"],
        "human_resets": summary["human_resets"],
        "falls": summary["falls"],
        "stand_ups": summary["stand_ups"],
        "steps": summary["steps"],
        "on_board": on_board,
        "speed_in_twin_m_s": {name: task["speed_m_s"] for name, task in tasks.items()},
        "falls_in_twin": {name: task["falls"] for name, task in tasks.items()},
        "update_ratio": learner["gradient_steps"] / max(1, summary["steps"]),
        "updates_of_wanted": learner["gradient_steps"] / max(1, learner["wanted_steps"]),
        "stale_median_s": sorted(stale)[len(stale) // 2] if stale else None,
        "stale_worst_s": max(stale, default=None),
        "dropped": learner["dropped"],
        "learner_restarts": learner["restarts"],
        "lost_frames": of["telemetry"]["lost"],
        "faults": of["faults"],
        "fault_events": [
            {k: e[k] for k in ("code", "robot_s", "text")} for e in events if e["event"] == "fault"
        ],
        "supervisor_cuts": of["supervisor"]["cuts"],
        "lateness": of["lateness"],
        "skipped_periods": of["skipped_periods"],
        "state_to_command": of["state_to_command"],
        "longest_silences": of["longest_silences"],
        "walks": bool(on_board)
        and all(task["speed_m_s"] >= GOAL_M_S for task in on_board.values()),
    }


def told(r: dict[str, Any]) -> str:
    """In a few lines."""
    here = ", ".join(
        f"{name} {task['speed_m_s']:.3f} m/s ({task['falls']} of {task['roll_outs']} fell)"
        for name, task in r["on_board"].items()
    )
    there = ", ".join(f"{name} {x:.3f} m/s" for name, x in r["speed_in_twin_m_s"].items())
    minutes, late = r["robot_minutes"], r["lateness"]
    return "\n".join(
        (
            f"{r['status']} after {minutes['total']:.1f} robot minutes ({minutes['moving']:.1f} "
            f"moving, {minutes['standing_up']:.1f} standing up, {minutes['waiting']:.1f} waiting)",
            f"on the way: {'; '.join(r['disturbed']) or 'nothing'}; faults {r['faults'] or 'none'}",
            f"in the end, on the board: {here}",
            f"evaluated in the twin: {there}; falls {r['falls_in_twin']}",
            f"while learning: {r['falls']} falls, {r['human_resets']} human resets, stand-ups "
            f"{r['stand_ups']['tried']} ({r['stand_ups']['failed']} failed)",
            f"learner: {r['update_ratio']:.2f} updates per step ({r['updates_of_wanted']:.0%} of "
            f"those wanted), weights {r['stale_median_s'] or 0.0:.2f} s old (median; worst "
            f"{r['stale_worst_s'] or 0.0:.1f}), dropped {r['dropped']}, started again "
            f"{r['learner_restarts']} times; telemetry frames lost {r['lost_frames']}",
            f"late p99.9 {late['p99_9_ms']:.2f} ms, worst {late['max_ms']:.2f}, skipped "
            f"{r['skipped_periods']}; state to command p99 {r['state_to_command']['p99_ms']:.2f} "
            f"ms; supervisor cuts {r['supervisor_cuts']}",
        )
    )


def main() -> int:
    """Measure and print; 0 if it ended by itself and nobody had to help."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one robot minute")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="a new folder for run and logs")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(1.0 if args.quick else args.minutes, args.seed, folder.absolute())
    result |= {"cores": os.cpu_count(), "load_1min": max(load, os.getloadavg()[0])}
    print(told(result))
    print(f"{result['cores']} cores, load {result['load_1min']:.1f}")
    if args.json:
        print(json.dumps(result))
    return 0 if result["status"] == "done" and result["human_resets"] == 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())

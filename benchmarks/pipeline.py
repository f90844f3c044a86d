# SPDX-License-Identifier: MIT
"""Speed of the training loop with a pipelined learner, compared with an inline learner.

Every turn trains for a fixed robot time with the learner in the loop's own process, then with
learner processes (one per task, at most one per core), at each lag. The ratio is that of control
steps per wall second, pipelined over inline, the median over turns. Also printed: the CPU time of
the loop and of the learner, the ratio that these would allow on free cores, and the machine's load.

Run: python benchmarks/pipeline.py [--quick] [--json]; takes 4 minutes, with --quick 40 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.config.schema import Config
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.training.learner_process import available_cores
from walkhome.robot.training.trainer import Trainer


class NoOutput:
    """A view without output."""

    def update(self, snapshot: object) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Turn:
    """Steps and times of one run.

    Attributes:
        wall_s: from its first step to its last.
        steps: control steps, standing up included.
        gradient_steps: updates.
        control_cpu_s: of this process.
        learner_cpu_s: of the learner's, start-up included; 0 inline.
    """

    wall_s: float
    steps: int
    gradient_steps: int
    control_cpu_s: float
    learner_cpu_s: float


def cpu_s(who: int) -> float:
    """CPU time of this process or of its ended children, s."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def turn(config: Config) -> Turn:
    """Train once, in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        with RunFolder.create(Path(folder) / "run", config) as run:
            rig = make_twin(config, config.run.seed)
            stop = SimpleNamespace(requested=False)
            loop = Trainer(config, run, NoOutput(), stop, rig)
            children, own = cpu_s(resource.RUSAGE_CHILDREN), cpu_s(resource.RUSAGE_SELF)
            begin_s = time.monotonic()
            summary = loop.run()
            wall_s = time.monotonic() - begin_s
        return Turn(
            wall_s,
            round(summary["robot_minutes"]["total"] * 60.0 * config.control.rate_hz),
            summary["gradient_steps"],
            cpu_s(resource.RUSAGE_SELF) - own,
            cpu_s(resource.RUSAGE_CHILDREN) - children,
        )


def rate(t: Turn) -> float:
    """Control steps per wall second."""
    return t.steps / t.wall_s


def ideal(control_s: float, learner_s: float, tasks: int) -> float:
    """Largest possible ratio on free cores; the updates of one task can't be divided."""
    cores = available_cores()
    total_s = control_s + learner_s
    return total_s / max(total_s / cores, control_s, learner_s / min(cores, tasks), 1e-9)


def main() -> None:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lags", type=int, nargs="+", default=[1, 8, 200])
    parser.add_argument("--turns", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    n = args.turns or (1 if args.quick else 5)
    sets = [
        f"run.minutes={0.15 if args.quick else 0.4}",
        "learning.random_steps=100",
        "learning.updates_per_step=2",
        "run.checkpoint_every_s=1000",
        *args.set,
    ]
    kinds = {"inline": ["learning.process=inline"]}
    for lag in args.lags:
        kinds[f"lag {lag}"] = ["learning.process=pipelined", f"learning.lag_steps={lag}"]
    configs = {k: resolve_config(overrides=[*sets, *extra]).config for k, extra in kinds.items()}
    turns: dict[str, list[Turn]] = {kind: [] for kind in kinds}
    load_before = os.getloadavg()
    for _ in range(n):
        for kind, config in configs.items():
            turns[kind].append(turn(config))
    inline = turns.pop("inline")
    updates_ms = []
    result: dict[str, object] = {}
    for kind, mine in turns.items():
        ratios = [rate(a) / rate(b) for a, b in zip(mine, inline, strict=True)]
        # CPU time of loop and updates, from the pipelined runs, where they are separate processes.
        control_s = statistics.median(t.control_cpu_s / t.steps for t in mine)
        whole_s = statistics.median(t.control_cpu_s / t.steps for t in inline)
        learner_s = max(0.0, whole_s - control_s)
        updates = statistics.median(t.steps / max(1, t.gradient_steps) for t in inline)
        updates_ms.append(1e3 * learner_s * updates)
        result[kind] = {
            "ratio": statistics.median(ratios),
            "worst": min(ratios),
            "best": max(ratios),
            "steps_per_s": statistics.median(rate(t) for t in mine),
            "control_cpu_ms_per_step": 1e3 * control_s,
            "learner_cpu_ms_per_step": 1e3 * learner_s,
            "ideal_ratio": ideal(control_s, learner_s, len(configs["inline"].tasks)),
        }
    load = max(load_before[0], os.getloadavg()[0])
    summary = {
        "ratio": max(entry["ratio"] for entry in result.values()),  # type: ignore[index]
        "pipelined": result,
        "inline_steps_per_s": statistics.median(rate(t) for t in inline),
        "update_cpu_ms": statistics.median(updates_ms),
        "updates_per_step": configs["inline"].learning.updates_per_step,
        "turns": n,
        "cores": available_cores(),
        "load_1min": load,
        "runs": {k: [asdict(t) for t in v] for k, v in {**turns, "inline": inline}.items()},
    }
    print(f"{available_cores()} cores, load {load:.1f} (of which 2 are this measurement's own)")
    print(
        f"inline {summary['inline_steps_per_s']:.0f} steps/s, an update takes "
        f"{summary['update_cpu_ms']:.2f} CPU ms"
    )
    for kind, entry in result.items():
        e: dict[str, float] = entry  # type: ignore[assignment]
        print(
            f"{kind:>8}: {e['steps_per_s']:4.0f} steps/s, ratio {e['ratio']:.2f} "
            f"({e['worst']:.2f} to {e['best']:.2f}; ideal {e['ideal_ratio']:.2f}: control "
            f"{e['control_cpu_ms_per_step']:.2f} ms, updates {e['learner_cpu_ms_per_step']:.2f} ms "
            "of CPU per step)"
        )
    if args.json:
        print(json.dumps(summary))


if __name__ == "__main__":
    main()

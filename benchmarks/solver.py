# SPDX-License-Identifier: MIT
"""Cost and effect of the contact solver's iterations and of the physics step.

Each setting is a pair of physics rate and iterations (`sim.physics_rate_hz`,
`sim.solver_iterations`). The motor controllers run once per physics step, so a longer step also
makes them slower. Per terrain and setting:

- cost: CPU time of a control step of 20 ms with one command and one read, settings in turns, and
  the ratio of the present setting's time to it (above 1 is faster), the median over turns;
- gap: distance between the joined ends of two shanks while following random commands, mm;
- drop from 0.5 m with the stance held: deepest foot, foot and trunk at rest, mm, leftover speed;
- gait (--runs): the same roll-outs of the run's learned policies under each setting, on the ground
  that they learned on: means with 95 % intervals, and the paired difference of the speed to that
  with the present setting.

Takes about 4 CPU minutes with one run of two tasks at 8 roll-outs of 5 s, half a minute with
--quick.

Run: python benchmarks/solver.py [--quick] [--json] [--runs RUN...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from walkhome.hardware.robot import MotorCommand, RobotError
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.config.schema import RobotConfig, SimConfig
from walkhome.robot.evaluation.evaluate import summary
from walkhome.robot.evaluation.intervals import mean_interval, proportion_interval
from walkhome.robot.evaluation.rollout import RollOut, roll_out
from walkhome.robot.storage.policies import checked_policies
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.sim.terrain import Terrain
from walkhome.sim.twin import PyBulletRobot, TwinSettings

MINITAUR = RobotConfig().to_body()
DEFAULTS = SimConfig().model_dump()

TERRAINS = ("flat", "mattress", "doormat")
PERIOD_S = 0.02
STEPS_PER_TURN = 25
DROP_S, REST_S = 2.5, 0.5
SMOOTH = 0.6  # of the random commands


class Setting(NamedTuple):
    """A physics rate and a number of iterations."""

    rate_hz: int
    iterations: int

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"{1000 / self.rate_hz:g} ms, {self.iterations}"

    def settings(self) -> TwinSettings:
        """Settings of a twin."""
        return TwinSettings(
            **DEFAULTS | {"physics_rate_hz": self.rate_hz, "solver_iterations": self.iterations}
        )


PRESENT = Setting(SimConfig().physics_rate_hz, SimConfig().solver_iterations)
STUDY = (
    *(Setting(500, iterations) for iterations in (10, 20, 30, 50, 100, 200)),
    *(Setting(rate_hz, 30) for rate_hz in (1000, 250)),
    Setting(1000, 100),
)
QUICK = (Setting(500, 10), PRESENT, Setting(250, 30))

Row = dict[str, Any]


class Walker:
    """A twin that follows random, smoothed commands, the same under every setting."""

    def __init__(self, terrain: Terrain, setting: Setting) -> None:
        self.robot = PyBulletRobot(terrain, setting.settings(), MINITAUR)
        self._rng = np.random.default_rng(0)
        self._action = np.zeros(8)
        self.gaps_mm: list[float] = []

    def turn(self) -> float:
        """Run one turn; return its CPU seconds, without the time to measure the gaps."""
        spent_s = 0.0
        for _ in range(STEPS_PER_TURN):
            self._action = SMOOTH * self._action + (1.0 - SMOOTH) * self._rng.uniform(-1, 1, 8)
            target = MINITAUR.action_to_motor(self._action)
            begin = time.process_time()
            self.robot.command(MotorCommand(target, kp=MINITAUR.kp, kd=MINITAUR.kd))
            self.robot.advance(PERIOD_S)
            self.robot.read()
            spent_s += time.process_time() - begin
            feet = self.robot.model.foot_positions()
            self.gaps_mm.extend(1e3 * np.linalg.norm(feet[:, 0] - feet[:, 1], axis=1))
        return spent_s


def costs(terrain: Terrain, study: Sequence[Setting], turns: int) -> dict[Setting, Row]:
    """Measure the time of each setting in turns, and the gaps of the legs' loops."""
    walkers = {setting: Walker(terrain, setting) for setting in study}
    seconds: dict[Setting, list[float]] = {setting: [] for setting in study}
    order = list(walkers)
    for turn in range(turns):
        # The order rotates, so that a busy machine favours none of them.
        first = turn % len(order)
        for setting in order[first:] + order[:first]:
            seconds[setting].append(walkers[setting].turn())
    rows = {}
    for setting, walker in walkers.items():
        pairs = zip(seconds[PRESENT], seconds[setting], strict=True)
        rows[setting] = {
            "control_step_us": 1e6 * statistics.median(seconds[setting]) / STEPS_PER_TURN,
            "speed_ratio": statistics.median(present / own for present, own in pairs),
            "gap_mean_mm": float(np.mean(walker.gaps_mm)),
            "gap_worst_mm": float(np.max(walker.gaps_mm)),
        }
        walker.robot.close()
    return rows


def drop(terrain: Terrain, setting: Setting) -> Row:
    """Drop the twin from 0.5 m while it holds the stance; measure depth and rest."""
    robot = PyBulletRobot(terrain, setting.settings(), MINITAUR)
    robot.place(np.array([0.0, 0.0, 0.5]), np.array([0.0, 0.0, 0.0, 1.0]), None)
    stance = MINITAUR.stance_motor_rad()
    lowest_mm, rest_mm, trunk_mm, speeds = [], [], [], []
    steps, rest = round(DROP_S / PERIOD_S), round((DROP_S - REST_S) / PERIOD_S)
    for step in range(steps):
        robot.command(MotorCommand(stance, kp=MINITAUR.kp, kd=MINITAUR.kd))
        robot.advance(PERIOD_S)
        feet_mm = 1e3 * robot.model.foot_positions()[..., 2]
        lowest_mm.append(float(feet_mm.min()))
        if step >= rest:
            state = robot.true_state()
            rest_mm.append(float(feet_mm.min(axis=1).mean()))
            trunk_mm.append(1e3 * float(state.position_m[2]))
            speeds.append(float(np.abs(state.velocity_m_s).max()))
    robot.close()
    return {
        "drop_deepest_mm": min(lowest_mm),
        "rest_foot_mm": statistics.mean(rest_mm),
        "rest_trunk_mm": statistics.mean(trunk_mm),
        "rest_speed_mm_s": 1e3 * max(speeds),
    }


def bodies(terrain: Terrain, study: Sequence[Setting], turns: int) -> dict[Setting, Row]:
    """Cost, gap and drop of each setting."""
    rows = costs(terrain, study, turns)
    for setting, row in rows.items():
        row.update(drop(terrain, setting))
    return rows


def gaits(
    path: Path, study: Sequence[Setting], episodes: int, seconds: float
) -> dict[str, dict[Setting, Row]]:
    """Evaluate the policies of a run under each setting, per task, in the same roll-outs.

    Raises:
        RunError: no run there.
        PolicyInvalid: no policy, or one for another body or observation.
    """
    run = RunFolder.open(path)
    policies = checked_policies(run.path / "policy.safetensors", run.config)
    tables: dict[str, dict[Setting, Row]] = {}
    for task in run.config.tasks:
        found: dict[Setting, dict[int, RollOut]] = {}
        for setting in study:
            change = {"physics_rate_hz": setting.rate_hz, "solver_iterations": setting.iterations}
            sim = run.config.sim.model_copy(update=change)
            config = run.config.model_copy(update={"sim": sim})
            found[setting] = {}
            for number in range(episodes):
                try:
                    out = roll_out(config, task, policies[task], number, seconds)
                except RobotError:  # the robot can't stand up, or the physics diverged
                    continue
                found[setting][number] = out
        tables[task] = {
            setting: gait_row(found[setting], found[PRESENT], episodes) for setting in study
        }
    return tables


def gait_row(outs: dict[int, RollOut], present: dict[int, RollOut], episodes: int) -> Row:
    """Means, intervals and the paired difference of one setting and task."""
    lost = {"roll_outs": len(outs), "not_begun": episodes - len(outs)}
    if not outs:
        return lost
    table = summary(list(outs.values()))
    differences = [
        speed_of(out) - speed_of(present[number])
        for number, out in outs.items()
        if number in present
    ]
    rng = np.random.default_rng(0)
    return lost | {
        "speed_m_s": table["speed_m_s"],
        "speed_interval": table["interval95"]["speed_m_s"],
        "speed_change_m_s": float(np.mean(differences)) if differences else None,
        "speed_change_interval": mean_interval(differences, rng),
        "falls": table["falls"],
        "fall_interval": proportion_interval(table["falls"], len(outs)),
        "torque_rms_nm": table["torque_rms_nm"],
        "torque_interval": table["interval95"]["torque_rms_nm"],
        "power_w": table["power_w"],
    }


def speed_of(out: RollOut) -> float:
    """Mean speed over the whole time, including after a fall, m/s."""
    return out.result.speed_m_s * out.share


def rounded(value: Any) -> Any:
    """Round numbers to four decimals and replace settings by their names."""
    if isinstance(value, dict):
        return {
            key.name if isinstance(key, Setting) else key: rounded(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def show(title: str, rows: dict[Setting, Row]) -> None:
    """Print a table."""
    print(f"\n{title}")
    columns = list(next(iter(rows.values())))
    print(" | ".join(["setting", *columns]))
    for setting, row in rows.items():
        mark = " (present)" if setting == PRESENT else ""
        print(" | ".join([setting.name + mark, *map(shown, (row.get(name) for name in columns))]))


def shown(value: Any) -> str:
    """Text of a cell."""
    if isinstance(value, list):
        return " to ".join(map(shown, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure and print tables, or with --json one object on the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="three settings, rough numbers")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="folders of learned runs")
    parser.add_argument("--episodes", type=int, default=10, help="roll-outs per task and setting")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a roll-out")
    arguments = parser.parse_args()
    study = QUICK if arguments.quick else STUDY
    turns, episodes = (4, 2) if arguments.quick else (12, arguments.episodes)
    grounds, learned = {}, {}
    for path in arguments.runs:
        learned[str(path)] = gaits(path, study, episodes, arguments.seconds)
        if not arguments.json:
            for task, rows in learned[str(path)].items():
                show(f"{path}: {task}, n = {episodes}", rows)
    for name in TERRAINS:
        terrain = resolve_config(overrides=[f"terrain={name}"]).config.terrain
        grounds[name] = bodies(Terrain(**terrain.model_dump()), study, turns)
        if not arguments.json:
            show(name, grounds[name])
    load = os.getloadavg()[0]
    if arguments.json:
        found = {"terrains": grounds, "runs": learned, "present": PRESENT.name, "load": load}
        print(json.dumps({"benchmark": "solver"} | rounded(found)))
    else:
        print(f"\nload {load:.1f}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Random switches between the learned gaits in the twin: how often does it fall?

Takes about 5 minutes for 1000 switches on one core, 10 s with --quick (20 switches).

Needs a run of four tasks: `robot learn --tasks forward,backward,left,right` makes one. The driver
changes to another gait, or to standing, after 0.5 to 2 s each, at full stride, on the flat. Every
fall is reported and counts, also those that the gaits make by themselves; so that one can tell them
apart, falls per minute are told for the first second after a switch, and for the time after that.

Also told: the largest change of a motor's target in one period, and how many were beyond the limit
of rate: none is, but where the limit of torque pulls a target toward the measured angle, which has
the last word (`safety.command.limits`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from walkhome.robot.config.resolve import with_terrain
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.evaluation.intervals import proportion_interval
from walkhome.robot.storage.policies import checked_policies
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.teleop.bindings import read_bindings
from walkhome.robot.teleop.controller import Teleop
from walkhome.robot.teleop.driver_input import DriverInput
from walkhome.robot.teleop.telemetry import DrivePeriod, DriveState, Listeners

SOON_S = 1.0
STAYS_S = (0.5, 2.0)


class RandomDriver:
    """Changes its mind at random times; ends after so many changes."""

    attended = False

    def __init__(self, tasks: list[str], switches: int, rng: np.random.Generator) -> None:
        self._choices: list[str | None] = [None, *tasks]
        self._left, self._rng = switches, rng
        self._task: str | None = None
        self._until_s = 1.0

    def poll(self, driven_s: float) -> DriverInput:
        """Another gait than the one before, when it is time."""
        if driven_s >= self._until_s:
            if not self._left:
                return DriverInput(ended=True)
            self._left -= 1
            others = [task for task in self._choices if task != self._task]
            self._task = others[self._rng.integers(len(others))]
            self._until_s = driven_s + float(self._rng.uniform(*STAYS_S))
        return DriverInput(self._task, held=True)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Watch:
    """What happened."""

    fell: list[dict[str, Any]]
    step_limit_rad: float
    period_s: float
    largest_step_rad: float = 0.0
    steps_beyond: int = 0
    switched_s: float = -1e9
    soon_s: float = 0.0
    later_s: float = 0.0
    last: str = ""
    sent_rad: Any = None
    angle_rad: Any = None

    def period(self, moment: DrivePeriod) -> None:
        """The step of the commands while it drives."""
        before, angle = self.sent_rad, self.angle_rad
        self.angle_rad = moment.state.motor_angle_rad
        self.sent_rad = moment.sent_rad if moment.drive_state is DriveState.DRIVING else None
        if self.sent_rad is None:
            return
        now_s = moment.statistics.driven_s + moment.statistics.standing_up_s
        soon = now_s - self.switched_s <= SOON_S
        self.soon_s += self.period_s * soon
        self.later_s += self.period_s * (not soon)
        if before is None:
            return
        step = self.sent_rad - before
        self.largest_step_rad = max(self.largest_step_rad, float(np.abs(step).max()))
        # Toward the measured angle, and not past it: less force, not more.
        relieved = (np.abs(self.sent_rad - angle) < np.abs(before - angle)) & (
            np.sign(self.sent_rad - angle) == np.sign(before - angle)
        )
        beyond = np.abs(step) > self.step_limit_rad + 1e-9
        self.steps_beyond += int((beyond & ~relieved).sum())

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Switches and falls."""
        now_s = float(fields["robot_s"])
        if kind == "switch":
            self.switched_s, self.last = now_s, f"{fields['from']} -> {fields['to']}"
        elif kind == "fall":
            after_s = now_s - self.switched_s
            self.fell.append({"after_s": round(after_s, 2), "switch": self.last})


def measure(run: Path, switches: int, seed: int, terrain: str, blend_s: float) -> dict[str, Any]:
    """Drive at random and count."""
    folder = RunFolder.open(run)
    config = with_terrain(folder.config, terrain)
    policies = checked_policies(folder.path / "policy.safetensors", config)
    driver = RandomDriver(list(config.tasks), switches, np.random.default_rng([seed, 7]))
    rig = make_twin(config, seed)
    period_s = rig.clock.period_s
    watch = Watch([], rig.robot.body.rate_limit_rad_s * period_s, period_s)
    start_s = time.monotonic()
    listeners = Listeners(watch.period, watch.event)
    tally = Teleop(config, rig, policies, driver, blend_s, listeners).run()
    rig.robot.close()
    soon = sum(fall["after_s"] <= SOON_S for fall in watch.fell)
    return {
        "run": str(run),
        "terrain": terrain,
        "seed": seed,
        "blend_s": blend_s,
        **asdict(tally),
        "falls_within_1_s": soon,
        "falls_per_min_within_1_s": 60.0 * soon / max(period_s, watch.soon_s),
        "falls_per_min_later": 60.0 * (tally.falls - soon) / max(period_s, watch.later_s),
        "falls_per_100_switches": 100.0 * tally.falls / max(1, tally.switches),
        "wilson_95_per_100": [
            100.0 * bound for bound in proportion_interval(tally.falls, max(1, tally.switches))
        ],
        "largest_step_rad": watch.largest_step_rad,
        "step_limit_rad": watch.step_limit_rad,
        "steps_beyond_limit": watch.steps_beyond,
        "fell": watch.fell,
        "wall_s": time.monotonic() - start_s,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--switches", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--terrain", default="flat")
    parser.add_argument("--blend-s", type=float, default=read_bindings().blend_s)
    parser.add_argument("--quick", action="store_true", help="20 switches")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    switches = 20 if arguments.quick else arguments.switches
    result = measure(arguments.run, switches, arguments.seed, arguments.terrain, arguments.blend_s)
    low, high = result["wilson_95_per_100"]
    print(
        f"{result['switches']} switches in {result['driven_s']:.0f} s: {result['falls']} falls, "
        f"{result['falls_per_100_switches']:.2f} per 100 (Wilson 95 %: {low:.2f} to {high:.2f}), "
        f"{result['falls_within_1_s']} of them within {SOON_S:g} s of a switch"
    )
    print(
        f"falls per minute: {result['falls_per_min_within_1_s']:.1f} within {SOON_S:g} s of a "
        f"switch, {result['falls_per_min_later']:.1f} later"
    )
    print(
        f"largest step of a target {result['largest_step_rad']:.3f} rad, limit "
        f"{result['step_limit_rad']:.3f}, {result['steps_beyond_limit']} beyond it that gave no "
        f"way; wall {result['wall_s']:.0f} s"
    )
    for fall in result["fell"]:
        print(f"  fell {fall['after_s']:.2f} s after {fall['switch']}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

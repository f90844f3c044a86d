# SPDX-License-Identifier: MIT
"""Measure the scripted stand-up: drop the twin in random postures and count its successes.

Every drop: an orientation uniform over all rotations, motor angles uniform over the range of a leg
(in every fourth drop over one and a half turns, so that legs are tangled), let go from 0.35 m, one
second to fall, then the stand-up. `--fall limp`: without any torque, so that the legs whirl freely
and some close the wrong way round. `--fall damped`: after `Stop.SETTLE`, as the robot falls in use.

Success is judged by the twin's true state one second after the controller says it is done: base
near the height of the stance, roll and pitch under 0.3 rad, at rest, and "done" within 8 s of the
stand-up's start. The controller's own verdict does not count.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import numpy as np

from walkhome.hardware.robot import MotorCommand, Stop
from walkhome.hardware.rotation import roll_pitch_yaw, world_z_in_body
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.config.schema import RobotConfig, SimConfig, StandUpConfig
from walkhome.safety.recovery.stand_up import StandUp, StandUpCommand
from walkhome.sim.terrain import Terrain, surface_height
from walkhome.sim.twin import PyBulletRobot, TrueState, TwinSettings

MINITAUR = RobotConfig().to_body()
SETTINGS = TwinSettings(**SimConfig().model_dump())

PERIOD_S = 0.02
DROP_HEIGHT_M = 0.35
FALL_S = 1.0
TIME_LIMIT_S = 8.0
HOLD_S = 1.0  # after the controller says done, before it is believed
LEVEL_RAD = 0.3
REST_M_S = 0.15
REST_RAD_S = 0.6
HEIGHT_TOLERANCE_M = 0.05


@dataclass(frozen=True)
class Drop:
    """Result of one drop."""

    seed: int
    ok: bool
    claimed: bool
    stood: bool  # within the time or not
    time_s: float
    attempts: int
    start_up_z: float
    height_m: float
    tilt_rad: float


def load_terrain(name: str) -> Terrain:
    """A terrain of `configs/terrains`."""
    config = resolve_config(overrides=[f"terrain={name}"]).config
    return Terrain(**config.terrain.model_dump())


def random_posture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A quaternion (4,) uniform over rotations, and motor angles (8,) rad, some of them tangled."""
    quaternion = rng.normal(size=4)
    tangled = rng.random() < 0.25
    low, high = (-math.pi, 2 * math.pi) if tangled else (0.3, 2.8)
    return quaternion / np.linalg.norm(quaternion), rng.uniform(low, high, size=8)


def stance_height_m(terrain: Terrain) -> float:
    """Height of the base over the ground of a twin that was put down in the stance."""
    robot = PyBulletRobot(terrain, SETTINGS, MINITAUR)
    stance = MINITAUR.stance_motor_rad()
    robot.place(np.array([0.0, 0.0, 0.24]), np.array([0.0, 0.0, 0.0, 1.0]), stance)
    for _ in range(100):
        robot.command(MotorCommand(stance, kp=MINITAUR.kp, kd=MINITAUR.kd))
        robot.advance(PERIOD_S)
    height = height_m(robot.true_state(), terrain)
    robot.close()
    return height


def height_m(state: TrueState, terrain: Terrain) -> float:
    """Height of the base over the undisturbed ground, m."""
    x, y, z = (float(v) for v in state.position_m)
    return z - surface_height(terrain, x, y)


def stands(state: TrueState, terrain: Terrain, stance_m: float) -> bool:
    """Whether the robot truly stands: height, level, at rest."""
    roll, pitch, _ = roll_pitch_yaw(state.quaternion_xyzw)
    return bool(
        abs(height_m(state, terrain) - stance_m) < HEIGHT_TOLERANCE_M
        and max(abs(roll), abs(pitch)) < LEVEL_RAD
        and np.linalg.norm(state.velocity_m_s) < REST_M_S
        and np.linalg.norm(state.angular_velocity_rad_s) < REST_RAD_S
    )


def run_drop(seed: int, terrain: Terrain, stance_m: float, fall: str = "limp") -> Drop:
    """One drop, from the fall to the verdict."""
    rng = np.random.default_rng(seed)
    robot = PyBulletRobot(terrain, SETTINGS, MINITAUR, seed=seed)
    quaternion, motor_rad = random_posture(rng)
    robot.place(np.array([0.0, 0.0, DROP_HEIGHT_M]), quaternion, motor_rad)
    if fall == "damped":
        robot.stop(Stop.SETTLE)
    robot.advance(FALL_S)
    start_up_z = float(world_z_in_body(robot.true_state().quaternion_xyzw)[2])
    script = StandUp(robot.body, rng, StandUpConfig().max_attempts)
    start_s = robot.time_s
    command = drive(robot, script)
    time_s = robot.time_s - start_s
    if command.done:
        for _ in range(round(HOLD_S / PERIOD_S)):
            robot.command(MotorCommand(command.motor_angle_rad, kp=command.kp, kd=command.kd))
            robot.advance(PERIOD_S)
    state = robot.true_state()
    stood = command.done and stands(state, terrain, stance_m)
    ok = stood and time_s <= TIME_LIMIT_S
    tilt = math.acos(max(-1.0, min(1.0, float(world_z_in_body(state.quaternion_xyzw)[2]))))
    height = height_m(state, terrain)
    robot.close()
    return Drop(seed, ok, command.done, stood, time_s, script.attempts, start_up_z, height, tilt)


def drive(robot: PyBulletRobot, script: StandUp) -> StandUpCommand:
    """The control loop of a stand-up, until it says done or failed."""
    state = robot.read()
    script.reset(state)
    while True:
        command = script.step(state, robot.time_s)
        if command.done or command.failed:
            return command
        robot.command(MotorCommand(command.motor_angle_rad, kp=command.kp, kd=command.kd))
        robot.advance(PERIOD_S)
        state = robot.read()


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927)."""
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def summarise(drops: list[Drop], terrain: str, fall: str, stance_m: float) -> dict[str, object]:
    """Rates and times of all drops."""
    ok = [drop for drop in drops if drop.ok]
    times = np.array([drop.time_s for drop in ok]) if ok else np.array([math.nan])
    low, high = wilson(len(ok), len(drops))
    return {
        "terrain": terrain,
        "fall": fall,
        "drops": len(drops),
        "success_within_8_s": len(ok) / len(drops),
        "wilson_95": [low, high],
        "time_s": {
            "median": float(np.median(times)),
            "p95": float(np.percentile(times, 95)),
            "max": float(times.max()),
        },
        "attempts": {str(k): v for k, v in sorted(Counter(d.attempts for d in drops).items())},
        "stood_in_the_end": sum(drop.stood for drop in drops) / len(drops),
        "false_claims": sum(drop.claimed and not drop.stood for drop in drops),
        "stance_height_m": stance_m,
        "failures": [asdict(drop) for drop in drops if not drop.ok],
    }


def _run(job: tuple[int, Terrain, float, str]) -> Drop:
    return run_drop(*job)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--drops", type=int, default=1000)
    parser.add_argument("--terrain", choices=["flat", "mattress", "doormat"], default="flat")
    parser.add_argument("--fall", choices=["limp", "damped"], default="limp")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first drop; the others count up from it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--quick", action="store_true", help="20 drops")
    arguments = parser.parse_args()
    n = 20 if arguments.quick else arguments.drops
    terrain = load_terrain(arguments.terrain)
    stance_m = stance_height_m(terrain)
    jobs = [(arguments.seed + i, terrain, stance_m, arguments.fall) for i in range(n)]
    start = time.monotonic()
    with get_context("spawn").Pool(arguments.jobs) as pool:
        drops = list(pool.imap(_run, jobs, chunksize=4))
    result = summarise(drops, arguments.terrain, arguments.fall, stance_m)
    low, high = result["wilson_95"]
    print(f"{arguments.terrain}, {arguments.fall} fall: {n} drops, seeds from {arguments.seed}")
    print(f"  within {TIME_LIMIT_S:.0f} s: {result['success_within_8_s']:.2%}", end=" ")
    print(f"(Wilson 95 %: {low:.2%} to {high:.2%})")
    print(f"  time: {result['time_s']}  attempts: {result['attempts']}")
    print(f"  in the end: {result['stood_in_the_end']:.2%}", end="; ")
    print(f"said done, but did not stand: {result['false_claims']}")
    for drop in drops:
        if not drop.ok:
            print(f"  failed: {drop}")
    print(f"  wall: {time.monotonic() - start:.0f} s")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

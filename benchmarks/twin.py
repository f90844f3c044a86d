# SPDX-License-Identifier: MIT
"""Speed of the twin on each terrain, against Bullet alone and against bullet3's Minitaur.

All three move the same robot on the same ground, in turns of half a second, in one process:

- twin: `PyBulletRobot`, one `command`, `advance` and `read` per control step of 20 ms;
- bare: replays the torques of the twin, with one call to set them and one `stepSimulation` per
  physics step, and reads nothing;
- minitaur: `Minitaur.Step` of `pybullet_envs`, ten physics steps per control step.

Rates are per CPU second, because a busy machine disturbs these least. A ratio is the twin's rate
over the other's, the median over turns; --json puts those of the worst terrain at the top.

Run: python benchmarks/twin.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import math
import statistics
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybullet
import pybullet_data

from walkhome.hardware.body import URDF_MOTOR_SIGN
from walkhome.hardware.constants import GRAVITY_M_S2
from walkhome.hardware.robot import MotorCommand
from walkhome.robot.config.resolve import resolve_config
from walkhome.robot.config.schema import RobotConfig, SimConfig
from walkhome.sim.terrain import Terrain, build
from walkhome.sim.twin import PyBulletRobot, TwinSettings

MINITAUR = RobotConfig().to_body()

FloatArray = npt.NDArray[np.float64]

PERIOD_S = 0.02
STEPS_PER_TURN = 25
TERRAINS = ("flat", "mattress", "doormat")


@functools.cache
def load_minitaur() -> Any:
    """bullet3's minitaur module, without its package's imports, which want the old gym."""
    spec = importlib.util.find_spec("pybullet_envs")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("pybullet_envs is missing; it comes with the pybullet wheel")
    root = Path(spec.submodule_search_locations[0])
    for parts in ((), ("minitaur",), ("minitaur", "envs")):
        package = types.ModuleType(".".join(("pybullet_envs", *parts)))
        package.__path__ = [str(root.joinpath(*parts))]
        sys.modules[package.__name__] = package
    return importlib.import_module("pybullet_envs.minitaur.envs.minitaur")


def gait(first_step: int) -> FloatArray:
    """Motor angles of a trot in place, (STEPS_PER_TURN, 8) rad."""
    steps = np.arange(first_step, first_step + STEPS_PER_TURN)
    phase = 2.0 * math.pi * 1.5 * PERIOD_S * steps[:, None]
    action = np.zeros((STEPS_PER_TURN, 8))
    action[:, 4:] = 0.5 * np.sin(phase) * [1.0, -1.0, -1.0, 1.0]
    return MINITAUR.action_to_motor(action)


class TwinLane:
    """The twin as the control loop uses it, with one read per control step."""

    def __init__(self, terrain: Terrain, settings: TwinSettings) -> None:
        self.robot = PyBulletRobot(terrain, settings, MINITAUR)

    def turn(self, first_step: int) -> float:
        """Run one turn; return its CPU seconds."""
        robot, targets = self.robot, gait(first_step)
        begin = time.process_time()
        for target in targets:
            robot.command(MotorCommand(target, kp=MINITAUR.kp, kd=MINITAUR.kd))
            robot.advance(PERIOD_S)
            robot.read()
        return time.process_time() - begin


class BareLane:
    """A second, identical scene, moved by the recorded torques of the first one."""

    def __init__(self, terrain: Terrain, settings: TwinSettings) -> None:
        self._scene = PyBulletRobot(terrain, settings, MINITAUR)

    def turn(self, torques: list[list[float]]) -> float:
        """Run one turn of joint torques (8 per physics step, N m, URDF's signs); return CPU s."""
        client, motors = self._scene.client, self._scene.model.motors
        quadruped, mode = self._scene.quadruped, pybullet.TORQUE_CONTROL
        apply, step = pybullet.setJointMotorControlArray, pybullet.stepSimulation
        begin = time.process_time()
        for torque in torques:
            apply(quadruped, motors, mode, forces=torque, physicsClientId=client)
            step(physicsClientId=client)
        return time.process_time() - begin

    def position(self) -> FloatArray:
        """Position of the robot, (3,) m, world frame."""
        return np.array(self._scene.model.sense([]).position_m)


class Client:
    """PyBullet with a fixed client id; `pybullet_utils.bullet_client` does it too, but prints."""

    def __init__(self, client_id: int) -> None:
        self.id = client_id

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(pybullet, name)
        if callable(attribute):
            return functools.partial(attribute, physicsClientId=self.id)
        return attribute


class MinitaurLane:
    """bullet3's own Minitaur on the same ground with the same gains and delays."""

    def __init__(self, terrain: Terrain, settings: TwinSettings) -> None:
        dt_s = 1.0 / settings.physics_rate_hz
        client = Client(pybullet.connect(pybullet.DIRECT))
        client.resetSimulation()
        client.setPhysicsEngineParameter(
            fixedTimeStep=dt_s,
            numSolverIterations=settings.solver_iterations,
            deterministicOverlappingPairs=1,
            enableConeFriction=0,
        )
        client.setGravity(0, 0, -GRAVITY_M_S2)
        build(terrain, client.id)
        self._robot = load_minitaur().Minitaur(
            client,
            urdf_root=pybullet_data.getDataPath(),
            time_step=dt_s,
            action_repeat=round(PERIOD_S / dt_s),
            accurate_motor_model_enabled=True,
            remove_default_joint_damping=True,
            motor_kp=MINITAUR.kp,
            motor_kd=MINITAUR.kd,
            pd_latency=settings.pd_latency_s,
            control_latency=settings.sensor_latency_s,
            motor_overheat_protection=True,
        )

    def turn(self, first_step: int) -> float:
        """Run one turn; return its CPU seconds."""
        targets = gait(first_step)
        begin = time.process_time()
        for target in targets:
            self._robot.Step(target)
        return time.process_time() - begin


def record_torques(terrain: Terrain, settings: TwinSettings, turns: int) -> list[list[list[float]]]:
    """Record the 8 joint torques of the twin per turn and physics step, in an untimed run."""
    robot = PyBulletRobot(terrain, settings, MINITAUR)
    dt_s = 1.0 / settings.physics_rate_hz
    recorded = []
    for turn in range(turns):
        torques = []
        for target in gait(turn * STEPS_PER_TURN):
            robot.command(MotorCommand(target, kp=MINITAUR.kp, kd=MINITAUR.kd))
            for _ in range(round(PERIOD_S / dt_s)):
                robot.advance(dt_s)
                torques.append((robot.shaft_torque_nm * URDF_MOTOR_SIGN).tolist())
        recorded.append(torques)
    robot.close()
    return recorded


def measure(terrain: Terrain, turns: int) -> dict[str, float]:
    """Measure rates and ratios on one terrain.

    Raises:
        RuntimeError: twin and bare loop moved differently, so the ratio would be meaningless.
    """
    settings = TwinSettings(**SimConfig().model_dump())
    torques = record_torques(terrain, settings, turns)
    twin, bare = TwinLane(terrain, settings), BareLane(terrain, settings)
    reference = MinitaurLane(terrain, settings)
    seconds: dict[str, list[float]] = {"twin": [], "bare": [], "minitaur": []}
    for turn in range(turns):
        first = turn * STEPS_PER_TURN
        lanes = [
            ("twin", lambda first=first: twin.turn(first)),
            ("bare", lambda turn=turn: bare.turn(torques[turn])),
            ("minitaur", lambda first=first: reference.turn(first)),
        ]
        # The order rotates, so that a busy machine favours none of them.
        for name, run in lanes[turn % 3 :] + lanes[: turn % 3]:
            seconds[name].append(run())
    if not np.array_equal(twin.robot.true_state().position_m, bare.position()):
        raise RuntimeError(f"{terrain.name}: twin and bare loop ended in different places")
    ratios = {
        f"ratio_{name}": statistics.median(
            other / own for own, other in zip(seconds["twin"], seconds[name], strict=True)
        )
        for name in ("bare", "minitaur")
    }
    rate_hz = {
        f"{name}_steps_s": STEPS_PER_TURN / statistics.median(s) for name, s in seconds.items()
    }
    return {key: round(value, 3) for key, value in {**rate_hz, **ratios}.items()}


def main() -> None:
    """Measure all terrains and print a table, or with --json one object on the last line."""
    parser = argparse.ArgumentParser(description="speed of the twin")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="a few seconds, rough numbers")
    arguments = parser.parse_args()
    results = {}
    for name in TERRAINS:
        config = resolve_config(overrides=[f"terrain={name}"]).config
        terrain = Terrain(**config.terrain.model_dump())
        results[name] = measure(terrain, turns=4 if arguments.quick else 30)
        if not arguments.json:
            print(name, results[name])
    if arguments.json:
        worst = {
            key: min(result[key] for result in results.values())
            for key in ("ratio_bare", "ratio_minitaur")
        }
        print(json.dumps({"benchmark": "twin", **worst, "terrains": results}))


if __name__ == "__main__":
    main()

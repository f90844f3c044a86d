# SPDX-License-Identifier: MIT
"""A run that has learned four postures, a robot without physics, a pad made of software."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from hardware.body import MINITAUR
from hardware.robot import Fault, Pose2D, RobotState
from learning.policy import NumpyPolicy, save_policies
from robot.config import resolve_config
from robot.learning_setup import observation_layout, policy_metadata
from robot.rig import Rig
from robot.run import RunFolder

TASKS = ("forward", "backward", "left", "right")
LEVEL = np.array([0.0, 0.0, 0.0, 1.0])


def posture_policy(layout_size, action, rng=None, gain=0.0):
    """A policy that leans to one posture, whatever it sees; with a gain, it also shakes."""
    weight = np.zeros((16, layout_size), np.float32)
    if rng is not None:
        weight[:8] = gain * rng.standard_normal((8, layout_size))
    bias = np.concatenate([np.arctanh(np.clip(action, -0.99, 0.99)), np.zeros(8)])
    return NumpyPolicy([(weight, bias.astype(np.float32))])


@pytest.fixture(scope="session")
def config():
    """Of a run of all four tasks."""
    return resolve_config(flags={"tasks": list(TASKS)}).config


@pytest.fixture
def policies(config):
    """Every task its own mild posture, in which the twin stands."""
    size = observation_layout(config).size
    made = {}
    for number, task in enumerate(TASKS):
        action = np.zeros(8)
        action[number] = 0.2
        made[task] = posture_policy(size, action)
    return made


@pytest.fixture
def learned(tmp_path, config, policies):
    """The folder of a run with those policies."""
    run = RunFolder.create(tmp_path / "run", config, ["robot", "learn"])
    run.close()
    save_policies(run.path / "policy.safetensors", policies, policy_metadata(config))
    return run.path


class FakeRobot:
    """Motors that are at once where they are told; attitude as a test sets it. Writes all down."""

    def __init__(self):
        self.body = MINITAUR
        self.attitude = LEVEL
        self.angle = MINITAUR.stance_motor_rad()
        self.log = []  # commands and stops, in order
        self.time_s = 0.0

    def read(self):
        # A little shorter than the stance asks for: the legs carry weight, as the stand-up checks.
        carries = np.full(8, 0.1)
        return RobotState(
            self.time_s, self.angle - carries, np.zeros(8), np.zeros(8), np.full(8, 22.0),
            self.attitude, np.zeros(3), np.array([0, 0, 9.81]), 16.0, Fault.NONE, 0.0,
        )  # fmt: skip

    def command(self, command):
        assert np.isfinite(command.angle_rad).all()
        self.angle = command.angle_rad.copy()
        self.log.append(command)
        return command

    def stop(self, how):
        self.log.append(how)

    def close(self):
        pass

    def latest(self):
        return Pose2D(0.0, 0.0, 0.0, self.time_s)


class FakeClock:
    """Time passes when it is told to."""

    period_s = 0.02

    def __init__(self, robot):
        self._robot = robot

    def now_s(self):
        return self._robot.time_s

    def tick(self):
        self._robot.time_s += self.period_s


@pytest.fixture
def fake_rig():
    """A rig without physics."""
    robot = FakeRobot()
    return Rig(robot, robot, FakeClock(robot))


@pytest.fixture
def plug(monkeypatch):
    """Plugs virtual pads into the very SDL that pygame-ce brings; no device file is needed."""
    pytest.importorskip("pygame")
    from robot.teleop.gamepad import open_sdl

    pygame, controller = open_sdl()
    with open("/proc/self/maps") as maps:
        (path,) = {line.split()[-1] for line in maps if "libSDL2-2" in line}
    sdl = ctypes.CDLL(path)
    sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
    sdl.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
    sdl.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
    sdl.SDL_JoystickGetDeviceInstanceID.restype = ctypes.c_int
    plugged = []

    def make():
        from robot.teleop.bindings import AXES, BUTTONS

        index = sdl.SDL_JoystickAttachVirtual(1, len(AXES), len(BUTTONS), 0)
        assert index >= 0
        handle = sdl.SDL_JoystickOpen(index)
        instance = sdl.SDL_JoystickGetDeviceInstanceID(index)

        def set_axis(name, value):
            sdl.SDL_JoystickSetVirtualAxis(handle, AXES.index(name), round(32767 * value))

        def pull(value):  # a trigger's own axis runs from -1 to 1
            set_axis("righttrigger", 2 * value - 1)

        def press(name, down=True):
            sdl.SDL_JoystickSetVirtualButton(handle, BUTTONS.index(name), int(down))

        def unplug():
            for i in range(sdl.SDL_NumJoysticks()):
                if sdl.SDL_JoystickGetDeviceInstanceID(i) == instance:
                    assert sdl.SDL_JoystickDetachVirtual(i) == 0
                    plugged.remove(unplug)
                    return

        plugged.append(unplug)
        pull(0.0)
        return SimpleNamespace(axis=set_axis, pull=pull, press=press, unplug=unplug)

    yield make
    for unplug in plugged:
        unplug()
    pygame.event.clear()
    if controller.get_init():
        controller.quit()

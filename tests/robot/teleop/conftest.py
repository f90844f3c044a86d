# SPDX-License-Identifier: MIT
"""Fixtures: a plant without physics, and SDL's virtual gamepads."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest
from fake_robot import FakeClock, FakeRobot

from walkhome.robot.control.twin_plant import TwinPlant


@pytest.fixture
def fake_plant():
    """A plant whose motors follow their commands at once (`fake_robot`)."""
    robot = FakeRobot()
    return TwinPlant(robot, robot, FakeClock(robot), 0.025)


@pytest.fixture
def plug(monkeypatch):
    """Plugs virtual pads into the SDL that pygame-ce ships; no device file is needed."""
    pytest.importorskip("pygame")
    from walkhome.robot.teleop.gamepad import open_sdl

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
        from walkhome.robot.teleop.bindings import AXES, BUTTONS

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

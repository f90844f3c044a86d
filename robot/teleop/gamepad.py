# SPDX-License-Identifier: MIT
"""Orders from a gamepad, through SDL's game-controller mapping: the same names on every pad.

The dead-man is a trigger that must be held. It counts as released when the pad is unplugged, and
when nothing was heard of it for `silent_s`: a pad out of radio range keeps its last values for
seconds. A pad that says it hangs on a cable may be silent. A pad that comes back, or speaks again,
is taken again, but its trigger must be let go and pulled anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from walkhome.hardware.robot import Stop
from walkhome.robot.teleop.bindings import AXES, BUTTONS, TeleopConfig
from walkhome.robot.teleop.driver_input import DriverInput, TeleopError

_FULL = 32767.0
_WIRED = "wired"


def open_sdl() -> Any:
    """SDL, by pygame, with its game controllers running and no window.

    Raises:
        TeleopError: pygame is not installed, or SDL can't start.
    """
    # Before pygame loads SDL: no window is needed, and events must come without one.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
    try:
        import pygame
        from pygame._sdl2 import controller
    except ImportError as error:
        raise TeleopError(
            f'driving by gamepad needs {error.name}: pip install "walkhome[teleop]"'
        ) from None
    try:
        pygame.display.init()  # without it there is no event queue
        controller.init()
    except pygame.error as error:
        raise TeleopError(f"SDL does not start: {error}") from None
    return pygame, controller


def _pads(controller: Any) -> dict[int, str]:
    """Device indices and names of the pads that are plugged in and that SDL has a mapping for."""
    pads = {}
    for index in range(controller.get_count()):
        if controller.is_controller(index):
            pad = controller.Controller(index)
            pads[index] = str(pad.name)
            pad.quit()
    return pads


class GamepadSource:
    """One pad.

    Args:
        config: bindings and times.
        name: part of the pad's name, or its number, counted from 1; None if there is only one.
        clock: monotonic seconds.

    Raises:
        TeleopError: no pad, no pad of that name, or more than one.
    """

    attended = True

    def __init__(
        self,
        config: TeleopConfig,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._clock = config, clock
        self._pygame, self._controller = open_sdl()
        self._pygame.event.pump()
        self._scale = config.scale.most
        self._heard_s = clock()
        self._pad: Any = None
        self._joystick: Any = None
        self._armed = False  # the trigger was seen released since the pad came
        index, self.name = self._choose(name)
        self._open(index)

    def poll(self, driven_s: float) -> DriverInput:
        """What the pad says now."""
        stop = self._events()
        if stop is not None:  # also when the pad is gone since: it was pressed
            return self._order(stop=stop, note=f"{stop.value}: button pressed")
        if self._pad is None:
            return self._order(note="unplugged; plug it in again")
        bindings = self._config.gamepad
        if self._axis(bindings.dead_man) < bindings.held_above:
            self._armed = True
            return self._order(note=f"hold {bindings.dead_man} to drive")
        if self._silent():
            self._armed = False
            return self._order(note=f"no event for {bindings.silent_s:g} s")
        if not self._armed:
            return self._order(note=f"let {bindings.dead_man} go, then hold it")
        walk, turn = -self._axis(bindings.walk_axis), -self._axis(bindings.turn_axis)
        task: str | None = None
        if max(abs(walk), abs(turn)) >= bindings.dead_zone:
            walks = abs(walk) >= abs(turn)
            if walks:
                task = "forward" if walk > 0 else "backward"
            else:
                task = "left" if turn > 0 else "right"
        return self._order(task=task, held=True, note=f"{bindings.dead_man} held")

    def battery(self) -> str:
        """`empty`, `low`, `medium`, `full`, `max`, `wired` or `unknown`."""
        if self._pad is None:
            return "unknown"
        return str(self._joystick.get_power_level())

    def close(self) -> None:
        """Let the pad go; safe to call twice."""
        if self._controller.get_init():
            self._drop()
            self._controller.quit()
        self._pad = None

    # -- inside ----------------------------------------------------------------------------------

    def _choose(self, name: str | None) -> tuple[int, str]:
        pads = _pads(self._controller)
        listed = ", ".join(f"{n} {pad!r}" for n, pad in enumerate(pads.values(), start=1))
        if not pads:
            raise TeleopError("no gamepad is plugged in (none that SDL knows); plug one in")
        if name is None:
            fitting = list(pads)
        elif name.isdecimal():
            fitting = list(pads)[int(name) - 1 : int(name)] if int(name) > 0 else []
        else:
            fitting = [i for i, pad in pads.items() if name.lower() in pad.lower()]
        if not fitting:
            raise TeleopError(f"--pad {name}: there is none; there are {listed}")
        if len(fitting) > 1:
            raise TeleopError(
                f"there are several gamepads: {listed}; choose with --pad NAME or number"
            )
        return fitting[0], pads[fitting[0]]

    def _open(self, index: int) -> None:
        self._pad = self._controller.Controller(index)
        self._joystick = self._pad.as_joystick()
        self._id: int | None = self._joystick.get_instance_id()
        self._down: set[str] = set()
        self._armed = False
        self._heard_s = self._clock()

    def _events(self) -> Stop | None:
        """Read all events; the stop button that went down, if one did."""
        pygame, stop = self._pygame, None
        for event in pygame.event.get():
            if event.type == pygame.CONTROLLERDEVICEADDED and self._pad is None:
                self._take_back(event.device_index)
            if self._pad is None or getattr(event, "instance_id", None) != self._id:
                continue
            if event.type == pygame.CONTROLLERDEVICEREMOVED:
                self._drop()
                continue  # it may have come back already
            self._heard_s = self._clock()
            if event.type in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
                pressed = self._button(event.button, event.type == pygame.CONTROLLERBUTTONDOWN)
                stop = pressed if stop is None or pressed is Stop.CUT else stop
        if self._pad is not None and not self._pad.attached():
            self._drop()
        return stop

    def _button(self, number: int, down: bool) -> Stop | None:
        """A button went down or up; the stop that this means, if it means one."""
        if number >= len(BUTTONS):  # paddles, a touchpad: nothing is bound to them
            return None
        button, bindings, scale = BUTTONS[number], self._config.gamepad, self._config.scale
        if not down:
            self._down.discard(button)
            return None
        self._down.add(button)
        if self._down.issuperset(bindings.cut):
            return Stop.CUT
        if button == bindings.settle:
            return Stop.SETTLE
        if button in (bindings.faster, bindings.slower):
            self._scale = scale.moved(self._scale, 1 if button == bindings.faster else -1)
        return None

    def _take_back(self, index: int) -> None:
        try:
            if _pads(self._controller).get(index) == self.name:
                self._open(index)
        except self._pygame.error:  # it is gone again already
            self._drop()

    def _drop(self) -> None:
        if self._pad is not None:
            self._pad.quit()
        self._pad = None

    def _axis(self, name: str) -> float:
        """-1 to 1; down and right are positive. A trigger: 0 to 1."""
        return max(-1.0, float(self._pad.get_axis(AXES.index(name))) / _FULL)

    def _silent(self) -> bool:
        bindings = self._config.gamepad
        if self._clock() - self._heard_s <= bindings.silent_s:
            return False
        return not (bindings.trust_wired and self.battery() == _WIRED)

    def _order(
        self, task: str | None = None, held: bool = False, stop: Stop | None = None, note: str = ""
    ) -> DriverInput:
        return DriverInput(task, held, stop, self._scale, note=note)

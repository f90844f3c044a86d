# SPDX-License-Identifier: MIT
"""Driver input from a gamepad, by SDL's game-controller mapping: the same names on every pad.

The dead-man is a trigger that must be held. It counts as released when the pad is unplugged, and
when the pad has sent no event for `silent_s`: a pad out of radio range keeps its last values for
seconds. With `trust_wired`, a pad that reports a cable may be silent. A pad that is plugged in
again, or sends events again, drives on after its trigger was released and pulled once.
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
    """Start SDL's game controllers through pygame, without a window.

    Returns:
        The modules `pygame` and `pygame._sdl2.controller`.

    Raises:
        TeleopError: pygame is not installed, or SDL can't start.
    """
    # Set before pygame loads SDL: no window is needed, and events must arrive without one.
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
    """Name of each pad that is plugged in and that SDL has a mapping for, by device index."""
    pads = {}
    for index in range(controller.get_count()):
        if controller.is_controller(index):
            pad = controller.Controller(index)
            pads[index] = str(pad.name)
            pad.quit()
    return pads


class GamepadSource:
    """Driver input from one gamepad; see `InputSource`.

    Args:
        config: bindings and times.
        name: part of the pad's name, or its number counted from 1; None: the only pad.
        clock: monotonic time, s.

    Attributes:
        attended: True: a person drives.
        name: the pad's name, as SDL reports it.

    Raises:
        TeleopError: pygame is missing, or no pad or more than one pad fits `name`.
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
        self._armed = False  # whether the trigger was seen released since the pad was opened
        index, self.name = self._choose(name)
        self._open(index)

    def poll(self, driven_s: float) -> DriverInput:
        """Read the pad's events and axes into a driver input; see `InputSource.poll`."""
        stop = self._events()
        if stop is not None:  # a press counts even if the pad was unplugged right after it
            return self._input(stop=stop, note=f"{stop.value}: button pressed")
        if self._pad is None:
            return self._input(note="unplugged; plug it in again")
        bindings = self._config.gamepad
        if self._axis(bindings.dead_man) < bindings.held_above:
            self._armed = True
            return self._input(note=f"hold {bindings.dead_man} to drive")
        if self._silent():
            self._armed = False
            return self._input(note=f"no event for {bindings.silent_s:g} s")
        if not self._armed:
            return self._input(note=f"let {bindings.dead_man} go, then hold it")
        walk, turn = -self._axis(bindings.walk_axis), -self._axis(bindings.turn_axis)
        task: str | None = None
        if max(abs(walk), abs(turn)) >= bindings.dead_zone:
            walks = abs(walk) >= abs(turn)
            if walks:
                task = "forward" if walk > 0 else "backward"
            else:
                task = "left" if turn > 0 else "right"
        return self._input(task=task, held=True, note=f"{bindings.dead_man} held")

    def battery(self) -> str:
        """Return the charge: `empty`, `low`, `medium`, `full`, `max`, `wired` or `unknown`."""
        if self._pad is None:
            return "unknown"
        return str(self._joystick.get_power_level())

    def close(self) -> None:
        """Close the pad and SDL's game controllers; safe to call twice."""
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
        """Read all events; return the stop that was pressed, if any (a cut takes precedence)."""
        pygame, stop = self._pygame, None
        for event in pygame.event.get():
            if event.type == pygame.CONTROLLERDEVICEADDED and self._pad is None:
                self._take_back(event.device_index)
            if self._pad is None or getattr(event, "instance_id", None) != self._id:
                continue
            if event.type == pygame.CONTROLLERDEVICEREMOVED:
                self._drop()
                continue  # a later event may report that it was plugged in again
            self._heard_s = self._clock()
            if event.type in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
                pressed = self._button(event.button, event.type == pygame.CONTROLLERBUTTONDOWN)
                stop = pressed if stop is None or pressed is Stop.CUT else stop
        if self._pad is not None and not self._pad.attached():
            self._drop()
        return stop

    def _button(self, number: int, down: bool) -> Stop | None:
        """Note that a button went down or up; return the stop bound to it, if any."""
        if number >= len(BUTTONS):  # paddles and touchpads can't be bound
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
        except self._pygame.error:  # unplugged again meanwhile
            self._drop()

    def _drop(self) -> None:
        if self._pad is not None:
            self._pad.quit()
        self._pad = None

    def _axis(self, name: str) -> float:
        """Position of a stick in [-1, 1] (right and down positive) or of a trigger in [0, 1]."""
        return max(-1.0, float(self._pad.get_axis(AXES.index(name))) / _FULL)

    def _silent(self) -> bool:
        bindings = self._config.gamepad
        if self._clock() - self._heard_s <= bindings.silent_s:
            return False
        return not (bindings.trust_wired and self.battery() == _WIRED)

    def _input(
        self, task: str | None = None, held: bool = False, stop: Stop | None = None, note: str = ""
    ) -> DriverInput:
        return DriverInput(task, held, stop, self._scale, note=note)

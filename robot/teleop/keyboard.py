# SPDX-License-Identifier: MIT
"""Orders from the terminal's keyboard: works over SSH, with key repetition as the dead-man.

A terminal tells of keys that go down, not of keys that are let go. A held key repeats, so a key
that was not heard of for `silent_s` is released. The first repetition takes longer, which is what
`first_repeat_s` is for.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from hardware.robot import Stop
from robot.teleop.bindings import TeleopConfig
from robot.teleop.orders import Order, TeleopError

_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
_MOVES = ("forward", "backward", "left", "right", "stand")
_CHUNK = 1024


class KeyboardSource:
    """Reads keys from a terminal, which it puts into cbreak mode until `close`.

    Args:
        config: bindings and times.
        descriptor: of the terminal; standard input when None.
        clock: monotonic seconds.

    Raises:
        TeleopError: it is no terminal.
    """

    attended = True

    def __init__(
        self,
        config: TeleopConfig,
        descriptor: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._clock = config, clock
        self._fd = sys.stdin.fileno() if descriptor is None else descriptor
        if not os.isatty(self._fd):
            raise TeleopError(
                "driving by keyboard needs a terminal, and standard input is none; use a terminal, "
                "--pad or --script"
            )
        keys = config.keyboard
        self._meaning = {
            key: meaning for meaning in keys.meanings() for key in getattr(keys, meaning)
        }
        self._move = ""  # the movement whose key is held
        self._heard_s = 0.0
        self._repeats = False
        self._scale = config.scale.most
        self._before: list[Any] | None = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSANOW)  # Ctrl-C stays a signal

    def poll(self, driven_s: float) -> Order:
        """The order that the keys pressed so far make."""
        try:
            text = self._read()
        except OSError:
            text = None
        if text is None:
            self._move = ""
            return Order(lost="the terminal is gone")
        stop: Stop | None = None
        for key in _keys(text):
            meaning = self._meaning.get(key, "")
            if meaning == "quit":
                return Order(ended=True, note="quit")
            if meaning in ("settle", "cut"):
                stop = Stop.CUT if meaning == "cut" or stop is Stop.CUT else Stop.SETTLE
                self._move = ""
            elif meaning in ("faster", "slower"):
                self._scale = self._config.scale.moved(
                    self._scale, 1 if meaning == "faster" else -1
                )
            elif meaning in _MOVES and stop is None:
                self._press(meaning)
        return self._order(stop)

    def _press(self, move: str) -> None:
        now_s = self._clock()
        self._repeats = move == self._move and now_s - self._heard_s <= self._patience_s()
        self._move, self._heard_s = move, now_s

    def _patience_s(self) -> float:
        keys = self._config.keyboard
        return keys.silent_s if self._repeats else keys.first_repeat_s

    def _order(self, stop: Stop | None) -> Order:
        if self._move and self._clock() - self._heard_s > self._patience_s():
            self._move = ""
        if stop is not None:
            return Order(stop=stop, scale=self._scale, note=f"{stop.value}: key pressed")
        if not self._move:
            return Order(scale=self._scale, note="no key held")
        task = None if self._move == "stand" else self._move
        return Order(task, held=True, scale=self._scale, note=f"{self._move} held")

    def _read(self) -> str | None:
        """What was typed since the last call; None when the terminal is gone."""
        parts = []
        while select.select([self._fd], [], [], 0.0)[0]:
            part = os.read(self._fd, _CHUNK)
            if not part:
                return None
            parts.append(part)
            if len(parts) >= 16:  # somebody pastes a book: the rest next time
                break
        return b"".join(parts).decode("utf-8", "replace")

    def close(self) -> None:
        """Leave the terminal as it was; safe to call twice."""
        if self._before is not None:
            with contextlib.suppress(termios.error, OSError):  # it may be gone
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
            self._before = None


def _keys(text: str) -> Iterator[str]:
    """Names of the keys: characters, arrows (ESC [ A and ESC O A), space."""
    i = 0
    while i < len(text):
        if text[i] == "\x1b" and text[i + 1 : i + 2] in ("[", "O"):
            yield _ARROWS.get(text[i + 2 : i + 3], "")
            i += 3
            continue
        yield "space" if text[i] == " " else text[i]
        i += 1

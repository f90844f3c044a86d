# SPDX-License-Identifier: MIT
"""Orders from the terminal's keyboard: works over SSH, with key repetition as the dead-man.

A terminal tells of keys that go down, not of keys that are let go. A held key repeats, so a key
that was not heard of for `silent_s` is released. The first repetition takes longer, which is what
`first_repeat_s` is for. More repetitions than a keyboard makes are what a connection that stood
still delivers now: old, and no sign that anybody holds the key.
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

from walkhome.hardware.robot import Stop
from walkhome.robot.teleop.bindings import TeleopConfig
from walkhome.robot.teleop.driver_input import DriverInput, TeleopError

_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
_MOVES = ("forward", "backward", "left", "right", "stand")
_CHUNK = 1024
_REPEATS_HZ, _BURST = 60.0, 3  # a fast keyboard; keys that may come together by chance
_STALLED_S = 0.3  # the program stood still, perhaps by Ctrl-Z: the shell has set the terminal anew


class KeyboardSource:
    """Reads keys from a terminal, which is in cbreak mode from the first `poll` until `close`.

    Not before the first: PyBullet ends the process by C's `exit` when its window can't open, and
    nobody would put the terminal back.

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
        self._fd = _standard_input() if descriptor is None else descriptor
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
        self._polled_s: float | None = None
        self._before: list[Any] | None = termios.tcgetattr(self._fd)

    def poll(self, driven_s: float) -> DriverInput:
        """The order that the keys pressed so far make."""
        now_s = self._clock()
        stalled_s = 0.0 if self._polled_s is None else now_s - self._polled_s
        try:
            if self._polled_s is None or stalled_s > _STALLED_S:
                tty.setcbreak(self._fd, termios.TCSANOW)  # Ctrl-C stays a signal
            text = self._read()
        except (OSError, termios.error):
            text = None
        self._polled_s = now_s
        if text is None:
            self._move = ""
            return DriverInput(lost="the terminal is gone")
        stop, ended = self._understand(list(_keys(text)), _BURST + _REPEATS_HZ * stalled_s)
        if ended:
            return DriverInput(stop=stop, ended=True, note="quit")
        return self._order(stop)

    def _understand(self, keys: list[str], most: float) -> tuple[Stop | None, bool]:
        """Do what the keys mean; the stop among them, and whether to end.

        Args:
            keys: in order.
            most: repetitions of a key in the time since the last call, on a keyboard.
        """
        stop, ended = None, False
        for key in keys:
            meaning = self._meaning.get(key, "")
            if meaning == "quit":
                ended = True
            elif meaning in ("settle", "cut"):
                stop = Stop.CUT if meaning == "cut" or stop is Stop.CUT else Stop.SETTLE
                self._move = ""
            elif meaning in ("faster", "slower"):
                self._scale = self._config.scale.moved(
                    self._scale, 1 if meaning == "faster" else -1
                )
            elif meaning in _MOVES and stop is None and keys.count(key) <= most:
                self._press(meaning)
        return stop, ended

    def _press(self, move: str) -> None:
        now_s = self._clock()
        self._repeats = move == self._move and now_s - self._heard_s <= self._patience_s()
        self._move, self._heard_s = move, now_s

    def _patience_s(self) -> float:
        keys = self._config.keyboard
        return keys.silent_s if self._repeats else keys.first_repeat_s

    def _order(self, stop: Stop | None) -> DriverInput:
        if self._move and self._clock() - self._heard_s > self._patience_s():
            self._move = ""
        if stop is not None:
            return DriverInput(stop=stop, scale=self._scale, note=f"{stop.value}: key pressed")
        if not self._move:
            return DriverInput(scale=self._scale, note="no key held")
        task = None if self._move == "stand" else self._move
        return DriverInput(task, held=True, scale=self._scale, note=f"{self._move} held")

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


def _standard_input() -> int:
    if sys.stdin is None:  # it was closed before Python started
        raise TeleopError("driving by keyboard needs a terminal, and standard input is closed")
    return sys.stdin.fileno()


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

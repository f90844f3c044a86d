# SPDX-License-Identifier: MIT
"""Driver input from the keyboard of a terminal, also over SSH; key repetition is the dead-man.

A terminal reports key presses, not key releases. A held key repeats, so a key counts as released
when it has not repeated for `silent_s`, or for the longer `first_repeat_s` after its first press.
More repetitions than a keyboard can produce come from a connection that had stalled: they are old,
so they do not count as a held key.
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
_REPEATS_HZ = 60.0  # of a fast keyboard
_BURST = 3  # repetitions that may arrive together by chance
# After a longer pause between two polls the program may have been suspended by Ctrl-Z, and the
# shell has changed the terminal's mode.
_STALLED_S = 0.3


class KeyboardSource:
    """Driver input from a terminal's keys; see `InputSource`.

    The terminal is in cbreak mode from the first `poll` until `close`. It is not changed earlier,
    because PyBullet ends the process by C's `exit` when its window can't open, and the terminal
    would stay in that mode.

    Args:
        config: bindings and times.
        descriptor: file descriptor of the terminal; None: standard input.
        clock: monotonic time, s.

    Attributes:
        attended: True: a person drives.

    Raises:
        TeleopError: the descriptor is not a terminal, or standard input is closed.
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
                "--gamepad or --script"
            )
        keys = config.keyboard
        self._meaning = {
            key: meaning for meaning in keys.meanings() for key in getattr(keys, meaning)
        }
        self._move = ""  # meaning of the movement key that is held; empty: none
        self._heard_s = 0.0
        self._repeats = False
        self._scale = config.scale.most
        self._polled_s: float | None = None
        self._before: list[Any] | None = termios.tcgetattr(self._fd)

    def poll(self, driven_s: float) -> DriverInput:
        """Read the keys typed since the last call into a driver input; see `InputSource.poll`."""
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
        return self._input(stop)

    def _understand(self, keys: list[str], most: float) -> tuple[Stop | None, bool]:
        """Apply the keys' meanings.

        Args:
            keys: names of the keys, in the order typed.
            most: the most repetitions of one key that a keyboard sends in the time since the last
                call.

        Returns:
            The stop among the keys (a cut takes precedence), and whether to end the drive.
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

    def _input(self, stop: Stop | None) -> DriverInput:
        if self._move and self._clock() - self._heard_s > self._patience_s():
            self._move = ""
        if stop is not None:
            return DriverInput(stop=stop, scale=self._scale, note=f"{stop.value}: key pressed")
        if not self._move:
            return DriverInput(scale=self._scale, note="no key held")
        task = None if self._move == "stand" else self._move
        return DriverInput(task, held=True, scale=self._scale, note=f"{self._move} held")

    def _read(self) -> str | None:
        """Read what was typed since the last call; None if the terminal was closed."""
        parts = []
        while select.select([self._fd], [], [], 0.0)[0]:
            part = os.read(self._fd, _CHUNK)
            if not part:
                return None
            parts.append(part)
            if len(parts) >= 16:  # a long paste must not block: the rest is read next time
                break
        return b"".join(parts).decode("utf-8", "replace")

    def close(self) -> None:
        """Restore the terminal's mode; safe to call twice."""
        if self._before is not None:
            with contextlib.suppress(termios.error, OSError):  # it may be closed
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
            self._before = None


def _standard_input() -> int:
    if sys.stdin is None:  # closed before Python started
        raise TeleopError("driving by keyboard needs a terminal, and standard input is closed")
    return sys.stdin.fileno()


def _keys(text: str) -> Iterator[str]:
    """Names of the typed keys: characters, arrows (ESC [ A and ESC O A), space."""
    i = 0
    while i < len(text):
        if text[i] == "\x1b" and text[i + 1 : i + 2] in ("[", "O"):
            yield _ARROWS.get(text[i + 2 : i + 3], "")
            i += 3
            continue
        yield "space" if text[i] == " " else text[i]
        i += 1

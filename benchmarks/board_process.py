# SPDX-License-Identifier: MIT
"""Starts an emulated board and its clients in processes of their own, for the benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROBOT = (sys.executable, "-m", "walkhome.robot.cli")
BOARD_PRIORITY = 70


def environment(folder: Path) -> dict[str, str]:
    """Environment that finds the packages and keeps sockets, locks and state in `folder`."""
    own = dict.fromkeys(("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), str(folder))
    return {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Log:
    """The board's event log, read while it grows; times are monotonic seconds of this machine."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open()
        self._rest = ""
        self.events: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """All events so far."""
        *lines, self._rest = (self._rest + self._stream.read()).split("\n")
        self.events += [json.loads(line) for line in lines]
        return self.events

    def since(self, time_s: float, *kinds: str) -> list[dict[str, Any]]:
        """Events of these kinds at or after `time_s`."""
        return [e for e in self.read() if e["event"] in kinds and e["monotonic_s"] >= time_s]

    def torque_at(self, time_s: float) -> bool:
        """Whether torque was on at `time_s`."""
        seen = [e for e in self.read() if e["event"] in ("torque", "limp")]
        seen = [e for e in seen if e["monotonic_s"] <= time_s]
        return bool(seen) and seen[-1]["event"] == "torque"

    def torque_ends_s(self, after_s: float, quiet_s: float) -> float | None:
        """Time at which torque ended; None until it has been off for `quiet_s`."""
        seen = [e for e in self.read() if e["event"] in ("torque", "limp")]
        if not seen or seen[-1]["event"] == "torque":
            return None
        ended_s = float(seen[-1]["monotonic_s"])
        return ended_s if time.monotonic() - max(ended_s, after_s) >= quiet_s else None

    def damped_s(self, after_s: float) -> float | None:
        """Time at which the board began to damp after `after_s`; None if it has not."""
        for event in self.since(after_s, "mode"):
            if event["mode"] in ("DAMP", "OFF"):
                return float(event["monotonic_s"])
        return None


@contextlib.contextmanager
def board(folder: Path, *options: str) -> Iterator[tuple[str, Log, int]]:
    """Run an emulated board; yields its port, its log and its process id."""
    port, log = folder / "robot", folder / "log.jsonl"
    command = [*ROBOT, "emulate", "--link", port, "--log", log, *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(folder), start_new_session=True
    )
    try:
        assert process.stdout is not None
        # A real board has its own processor, which the load of this machine does not slow down.
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(BOARD_PRIORITY))
        if "board on" not in process.stdout.readline():
            raise SystemExit("the board did not start")
        yield str(port), Log(log), process.pid
    finally:
        process.terminate()
        process.wait()


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start `robot ARGUMENTS`; its output is appended to the file `said` in `folder`."""
    with (folder / "said").open("a") as said:
        return subprocess.Popen(
            [*ROBOT, *map(str, arguments)],
            stdout=said,
            stderr=said,
            text=True,
            env=environment(folder),
        )


def children(pid: int) -> Iterator[tuple[int, str]]:
    """Process ids and command lines of the children of a process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                raw = Path(f"/proc/{child}/cmdline").read_bytes()
                yield int(child), raw.replace(b"\0", b" ").decode()


def child_of(pid: int, module: str) -> int:
    """Process id of the child that runs `module`; 0 if there is none."""
    return next((child for child, line in children(pid) if module in line), 0)


def kill(pids: Sequence[int]) -> None:
    """Kill processes; those that have already ended are skipped."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

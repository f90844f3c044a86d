# SPDX-License-Identifier: MIT
"""Real time against an emulated board: how late the control loop is, and how fast torque ends.

The board is `robot emulate` in a process of its own: the firmware's C code on a pseudo-terminal,
its own log of when torque was on, and with real-time priority where that is allowed, because a
board has its own processor. A control process arms it and commands a posture.

--stop: the control process is killed, or frozen, or the emergency stop is pressed; the figure is
the time from there to the end of torque on the board's own log, once per physics step (2 ms).
Killed together with its supervisor, it is the time until the board damps by its own time-out,
which its log says with the next STATE frame, up to 10 ms later.

--late: the control process ticks with a busy process on every core, with and without real-time
priority; the figure is the lateness of its ticks.

Run: python benchmarks/realtime.py [--stop] [--late] [--trials N] [--quick] [--json]; with 200
trials each 12 minutes, with --quick half a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 50.0
HOLD_S = 0.12
"""Of commands, at least, before something happens."""
ARMED_WITHIN_S = 2.0
CASES = ("killed", "frozen", "both", "estop")
LIMIT_MS = {"killed": 35.0, "frozen": 35.0, "both": 110.0, "estop": 35.0}
ROOT = Path(__file__).parents[1]


# -- the control process ---------------------------------------------------------------------------


def control(port: str, latch: str, seed: int) -> None:
    """Arm the board and command a posture until somebody ends this process."""
    from hardware.body import MINITAUR
    from hardware.link import SerialLink
    from hardware.priority import CONTROL_PRIORITY, prioritise
    from hardware.protocol import SCHEMA_HASH, MessageType, Mode, encode, fields_of
    from robot.clock import WallClock
    from safety.supervisor_client import SupervisorClient, silence_limit_s

    link = SerialLink(port)
    supervisor = SupervisorClient(silence_limit_s(1.0 / RATE_HZ), Path(latch))
    supervisor.hand_over(link.fileno())
    session, seq = seed % 2**32, 0

    def send(kind: MessageType, **fields: Any) -> None:
        nonlocal seq
        seq += 1
        link.send(encode(kind, fields, seq, 0))

    def ask(answer: MessageType, kind: MessageType, **fields: Any) -> dict[str, Any]:
        for _ in range(20):
            send(kind, **fields)
            end_s = time.monotonic() + 0.2
            while time.monotonic() < end_s:
                link.wait(0.02)
                for frame in link.read():
                    if frame.kind is answer:
                        return fields_of(frame)
        raise SystemExit(f"the board does not answer {kind.name}")

    hello = {"major": 1, "minor": 0, "schema": SCHEMA_HASH, "session": session}
    for _ in range(10):
        if ask(MessageType.HELLO_ACK, MessageType.HELLO, **hello)["code"] == 0:
            break
        time.sleep(0.1)
    ask(MessageType.ACK, MessageType.CLEAR_FAULT, session=session, nonce=1)
    challenge = ask(MessageType.ACK, MessageType.ARM, session=session, nonce=1, confirm=0)
    nonce = challenge["nonce"]
    prioritise(CONTROL_PRIORITY)
    clock = WallClock(RATE_HZ)
    send(MessageType.ARM, session=session, nonce=nonce, confirm=1)
    supervisor.watch(True)
    posture = MINITAUR.stance_motor_rad() + 0.3  # not where it lies: torque
    command = {
        "session": session,
        "mode": Mode.POSITION,
        "reserved": 0,
        "valid_ms": 100,
        "torque_cap_nm": 3.5,
        "angle_rad": posture,
        "velocity_rad_s": np.zeros(8),
        "feed_forward": np.zeros(8),
        "kp": np.full(8, 0.5),
        "kd": np.full(8, 0.01),
    }
    print(supervisor.pid, flush=True)
    while True:
        send(MessageType.COMMAND, **command)
        if link.flush():
            supervisor.beat()
        for _ in link.read():
            pass
        clock.tick()


# -- the trials ------------------------------------------------------------------------------------


class Log:
    """The board's event log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open()
        self.events: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Whatever is new."""
        for line in self._stream:
            if line.endswith("\n"):
                self.events.append(json.loads(line))
        return self.events

    def torque_at(self, time_s: float) -> bool:
        """Whether torque was on then."""
        before = [e for e in self.events if e["event"] in ("torque", "limp")]
        before = [e for e in before if e["monotonic_s"] <= time_s]
        return bool(before) and before[-1]["event"] == "torque"

    def damped_s(self, after_s: float) -> float | None:
        """When the board first said that it damps, after then."""
        for event in self.read():
            if event["monotonic_s"] >= after_s and event.get("mode") == "DAMP":
                return float(event["monotonic_s"])
        return None

    def torque_ends_s(self, after_s: float, quiet_s: float) -> float | None:
        """When torque ended for good; None if it has not been off for so long."""
        events = [e for e in self.read() if e["event"] in ("torque", "limp")]
        if not events or events[-1]["event"] == "torque":
            return None
        ended_s = float(events[-1]["monotonic_s"])
        return ended_s if time.monotonic() - max(ended_s, after_s) >= quiet_s else None


@contextlib.contextmanager
def board(folder: Path) -> Iterator[tuple[str, Log]]:
    """An emulated board in its own process."""
    link, log = folder / "robot", folder / "log.jsonl"
    command = [sys.executable, "-m", "robot.cli", "emulate", "--link", link, "--log", log]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        # A board has a processor of its own, which the load of this machine does not slow down.
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(70))
        if "board on" not in process.stdout.readline():
            raise SystemExit("the board did not start")
        yield str(link), Log(log)
    finally:
        process.terminate()
        process.wait()


def environment() -> dict[str, str]:
    """With our packages in reach."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def trial(
    case: str, port: str, log: Log, latch: Path, rng: np.random.Generator
) -> dict[str, Any] | None:
    """One stop: its time in ms, whether torque had ended before, and the board's faults after.

    Torque ends before when the supervisor takes a late loop for a dead one. None if the board never
    moved its motors: then this was no trial.
    """
    seed = int(rng.integers(1, 2**31))
    command = [sys.executable, __file__, "--control", port, str(latch), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    supervisor = 0
    try:
        assert process.stdout is not None
        supervisor = int(process.stdout.readline())
        armed_by_s = time.monotonic() + ARMED_WITHIN_S
        while not log.torque_at(time.monotonic()):
            if time.monotonic() > armed_by_s:
                return None
            time.sleep(0.005)
            log.read()
        time.sleep(HOLD_S + float(rng.uniform(0.0, 1.0 / RATE_HZ)))  # anywhere in a period
        log.read()
        begin_s = time.monotonic()
        if case == "estop":
            from safety import estop

            estop.press("benchmark", latch.parent)
        elif case == "frozen":
            process.send_signal(signal.SIGSTOP)
        else:
            if case == "both":
                os.kill(supervisor, signal.SIGKILL)
            process.kill()
        ended_s = None
        while ended_s is None and time.monotonic() - begin_s < 3.0:
            time.sleep(0.01)
            ended_s = log.damped_s(begin_s) if case == "both" else log.torque_ends_s(begin_s, 0.15)
        early = not log.torque_at(begin_s)
        modes = [e for e in log.events if e["event"] == "mode"]
        return {
            "ms": None if ended_s is None or early else 1e3 * (ended_s - begin_s),
            "early": early,
            "faults": modes[-1]["faults"] if modes else 0,
        }
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(ProcessLookupError):
            if supervisor:
                os.kill(supervisor, signal.SIGKILL)
        (latch.parent / latch.name).unlink(missing_ok=True)


def measure_stops(trials: int) -> dict[str, Any]:
    """All cases in turns."""
    rng = np.random.default_rng(0)
    found: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as name, board(Path(name)) as (port, log):
        latch = Path(name) / "estop.json"
        for i in range(trials):
            for case in CASES:
                one = None
                while one is None:
                    one = trial(case, port, log, latch, rng)
                found[case].append(one)
            if sys.stderr.isatty():
                print(f"\r{i + 1}/{trials}", end="", file=sys.stderr)
    result = {}
    for case, all_of in found.items():
        ms = [one["ms"] for one in all_of if one["ms"] is not None]
        values = np.array(ms or [1e9])
        result[case] = {
            "trials": len(all_of),
            "never_stopped": sum(one["ms"] is None and not one["early"] for one in all_of),
            "stopped_early": sum(one["early"] for one in all_of),
            "by_supervisor": sum(bool(one["faults"] & 2) for one in all_of),
            "median_ms": float(np.median(values)),
            "p95_ms": float(np.quantile(values, 0.95)),
            "worst_ms": float(values.max()),
            "limit_ms": LIMIT_MS[case],
            "over_limit": int((values > LIMIT_MS[case]).sum()),
            "all_ms": [round(float(v), 2) for v in values],
        }
    return result


# -- lateness --------------------------------------------------------------------------------------


def tick_for(rate_hz: float, seconds: float, real_time: bool) -> None:
    """Tick, with some work in each period; print the lateness."""
    from hardware.priority import CONTROL_PRIORITY, prioritise
    from robot.clock import WallClock

    granted = prioritise(CONTROL_PRIORITY) if real_time else None
    weight, x = np.ones((256, 256), np.float32), np.ones(256, np.float32)
    clock = WallClock(rate_hz)
    for _ in range(round(seconds * rate_hz)):
        for _ in range(3):
            weight @ x
        clock.tick()
    refused = list(granted.refused) if granted else []
    print(json.dumps({**clock.lateness.summary(), "skipped": clock.skipped, "refused": refused}))


def measure_lateness(seconds: float) -> dict[str, Any]:
    """Each rate with and without priority, beside one busy process per core."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(100000))"])
        for _ in range(os.cpu_count() or 1)
    ]
    result: dict[str, Any] = {}
    try:
        for rate_hz in (50, 100, 250):
            for name in ("ordinary", "real_time"):
                command = [sys.executable, __file__, "--tick", str(rate_hz), str(seconds), name]
                done = subprocess.run(
                    command, env=environment(), capture_output=True, text=True, check=True
                )
                result[f"{rate_hz}_hz_{name}"] = json.loads(done.stdout)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--late", action="store_true")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--control", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--tick", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.control:
        return control(args.control[0], args.control[1], int(args.control[2]))
    if args.tick:
        return tick_for(float(args.tick[0]), float(args.tick[1]), args.tick[2] == "real_time")
    both = not (args.stop or args.late)
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_1min": os.getloadavg()[0]}
    if args.stop or both:
        result["stop"] = measure_stops(args.trials or (3 if args.quick else 200))
        for case, r in result["stop"].items():
            what = "damped" if case == "both" else "torque ends"
            print(
                f"{case:>7}: {what} after {r['median_ms']:.1f} ms (median; 95 % "
                f"{r['p95_ms']:.1f}, worst {r['worst_ms']:.1f}), over {r['limit_ms']:g} ms "
                f"{r['over_limit']} of {r['trials']}; never {r['never_stopped']}, "
                f"before it happened {r['stopped_early']}; by the supervisor {r['by_supervisor']}"
            )
    if args.late or both:
        result["late"] = measure_lateness(3.0 if args.quick else 30.0)
        for name, r in result["late"].items():
            print(
                f"{name:>17}: p50 {r['p50_ms']:.3f} ms, p99 {r['p99_ms']:.2f}, p99.9 "
                f"{r['p99_9_ms']:.2f}, worst {r['max_ms']:.2f}, late by a period {r['misses']} "
                f"of {r['count']}" + "".join(f"; {text}" for text in r["refused"])
            )
    result["load_1min"] = max(result["load_1min"], os.getloadavg()[0])
    print(f"{os.cpu_count()} cores, load {result['load_1min']:.1f}")
    if args.json:
        print(json.dumps(result))
    return None


if __name__ == "__main__":
    main()

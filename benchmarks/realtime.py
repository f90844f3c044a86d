# SPDX-License-Identifier: MIT
"""Real time against an emulated board: lateness of the control loop, and time until torque ends.

The board is `robot emulate` in its own process: the firmware's C code on a pseudo-terminal, with a
log of when torque was on, and with real-time priority where that is allowed, because a real board
has its own processor.

--stop: `robot learn --port` with its supervisor. Once the robot moves, the control process is
killed, or frozen, or killed together with its supervisor, or the cable is unplugged, or the
emergency stop is pressed. The result is the time from there to the end of torque in the board's log
(until it damps, where no process is left to stop the board), exact to a physics step (2 ms).

--late: `robot learn --port` at 50 and 100 Hz beside its learner: lateness of the ticks, missed
periods, time from a reading to the next command, and the lateness of a process that only ticks,
which shows what the machine contributes. Then bare ticks with some work in each at 50, 100 and
250 Hz beside a busy process per core, with and without real-time priority.

--echo: round trips over a pseudo-terminal, this project's stack against plain pyserial.

Run: python benchmarks/realtime.py [--stop] [--late] [--echo] [--trials N] [--minutes M]
     [--through learn|stand-up] [--quick] [--json]
Without any of the three: all. 200 stops of each kind through `learn` take 15 s per trial, 4 h;
through `stand-up`, which drives the same way without a learner, 2 h. With --quick: 4 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import echo
import machine
import numpy as np
import stops
from board_process import ROOT, board, start

LEARN_RATES_HZ = (50, 100)
BARE_RATES_HZ = (50, 100, 250)


# -- lateness --------------------------------------------------------------------------------------


def tick_for(rate_hz: float, seconds: float, real_time: bool) -> None:
    """Tick with some work in each period; print the lateness as JSON."""
    from walkhome.hardware.realtime import CONTROL_PRIORITY, prioritise
    from walkhome.robot.control.clock import WallClock

    granted = prioritise(CONTROL_PRIORITY) if real_time else None
    weight, x = np.ones((256, 256), np.float32), np.ones(256, np.float32)
    clock = WallClock(rate_hz)
    asked_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
    begin_s, wanted, ticks = clock.now_s(), round(seconds * rate_hz), 0
    while ticks < wanted and not asked_to_end:
        for _ in range(3):
            weight @ x
        clock.tick()
        ticks += 1
    took_s = clock.now_s() - begin_s
    drift_ms = 1e3 * (took_s - (ticks + clock.skipped) / rate_hz)
    refused = list(granted.refused) if granted else []
    print(
        json.dumps(
            {
                **clock.lateness.summary(),
                "skipped": clock.skipped,
                "drift_ms": drift_ms,
                "refused": refused,
            }
        )
    )


def measure_learning(minutes: float) -> dict[str, Any]:
    """Timing of `robot learn --port` at each rate."""
    result: dict[str, Any] = {}
    for rate_hz in LEARN_RATES_HZ:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with machine.watched() as beside, board(folder) as (port, _, _):
                what = ("learn", "--port", port, "--terrain", "flat", "--minutes", minutes)
                run = folder / "run"
                rate = f"control.rate_hz={rate_hz}"
                code = start(folder, *what, "--run-dir", run, "--json", "--set", rate).wait()
            if not (run / "summary.json").is_file():
                said = (folder / "said").read_text()[-2000:]
                raise SystemExit(f"robot learn ended with exit code {code}:\n{said}")
            summary = json.loads((run / "summary.json").read_text())
        of = summary["board"]
        result[f"{rate_hz}_hz"] = {
            **of["lateness"],
            "status": summary["status"],  # a run that needed help has results too
            "robot_minutes": summary["robot_minutes"]["total"],
            "skipped": of["skipped_periods"],
            "achieved_hz": of["achieved_hz"],
            "state_to_command": of["state_to_command"],
            "telemetry_age": of["telemetry_age"],
            "longest_silence_ms": max((s["ms"] for s in of["longest_silences"]), default=0.0),
            "longest_silences": of["longest_silences"],
            "supervisor": of["supervisor"],
            "faults": of["faults"],
            "updates": summary["learner"]["gradient_steps"] / summary["learner"]["wanted_steps"],
            "machine": beside,
        }
    return result


def measure_bare(seconds: float) -> dict[str, Any]:
    """Lateness of bare ticks at each rate, with and without priority, under full load."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(100000))"])
        for _ in range(os.cpu_count() or 1)
    ]
    result: dict[str, Any] = {}
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    try:
        for rate_hz in BARE_RATES_HZ:
            for name in ("ordinary", "real_time"):
                command = [sys.executable, __file__, "--tick", str(rate_hz), str(seconds), name]
                done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
                result[f"{rate_hz}_hz_{name}"] = json.loads(done.stdout)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return result


def format_learning(name: str, r: dict[str, Any]) -> str:
    """A few lines of text."""
    answer = r["state_to_command"]
    return (
        f"{name:>9}: {r['status']} after {r['robot_minutes']:.1f} min, late p50 "
        f"{r['p50_ms']:.3f} ms, p99 {r['p99_ms']:.2f}, p99.9 {r['p99_9_ms']:.2f}, worst "
        f"{r['max_ms']:.2f}; missed {r['skipped']} of {r['count']} periods; "
        f"{r['achieved_hz']:.2f} Hz\n"
        f"{'':>11}state to command p50 {answer['p50_ms']:.2f} ms, p99 {answer['p99_ms']:.2f}, "
        f"worst {answer['max_ms']:.2f}; longest silence {r['longest_silence_ms']:.1f} ms; faults "
        f"{r['faults'] or 'none'}; updates {r['updates']:.0%} of those wanted\n"
        f"{'':>11}{machine.format_result(r['machine'])}"
    )


def format_bare(name: str, r: dict[str, Any]) -> str:
    """One line of text."""
    return (
        f"{name:>17}: p50 {r['p50_ms']:.3f} ms, p99 {r['p99_ms']:.2f}, p99.9 {r['p99_9_ms']:.2f}, "
        f"worst {r['max_ms']:.2f}, late by a period {r['misses']} of {r['count']}, drift "
        f"{r['drift_ms']:.2f} ms" + "".join(f"; {text}" for text in r["refused"])
    )


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--stop", "--late", "--echo", "--quick", "--json"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--trials", type=int, help="stops of each kind (200; quick: 2)")
    parser.add_argument("--minutes", type=float, help="of learning per rate (10; quick: 0.5)")
    parser.add_argument("--through", choices=("learn", "stand-up"), default="learn")
    parser.add_argument("--tick", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse()
    if args.tick:
        return tick_for(float(args.tick[0]), float(args.tick[1]), args.tick[2] == "real_time")
    everything = not (args.stop or args.late or args.echo)
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_1min": os.getloadavg()[0]}
    if args.echo or everything:
        result["echo"] = echo.measure(500 if args.quick else 5000)
        print(echo.format_result(result["echo"]), flush=True)
    if args.late or everything:
        minutes = args.minutes or (0.5 if args.quick else 10.0)
        result["learning"] = measure_learning(minutes)
        for name, r in result["learning"].items():
            print(format_learning(name, r), flush=True)
        result["late"] = measure_bare(3.0 if args.quick else 60.0)
        for name, r in result["late"].items():
            print(format_bare(name, r), flush=True)
    if args.stop or everything:
        with machine.watched() as beside:
            result["stop"] = stops.measure(args.trials or (2 if args.quick else 200), args.through)
        result["stop"]["machine"] = beside
        for case in stops.CASES:
            print(stops.format_result(case, result["stop"][case]), flush=True)
        print(f"{'':>11}{machine.format_result(beside)}")
    result["load_1min"] = max(result["load_1min"], os.getloadavg()[0])
    print(f"{os.cpu_count()} cores, load {result['load_1min']:.1f}")
    if args.json:
        print(json.dumps(result))
    return None


if __name__ == "__main__":
    main()

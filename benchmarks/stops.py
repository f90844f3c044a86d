# SPDX-License-Identifier: MIT
"""Measures how fast a robot stops after a failure, from the board's log; `realtime.py --stop`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from board_process import Log, board, child_of, kill, start

CASES = ("killed", "frozen", "both", "unplugged", "estop")
LIMIT_MS = {"killed": 35.0, "frozen": 35.0, "both": 100.0, "unplugged": 100.0, "estop": 35.0}
DAMPS = ("both", "unplugged")
"""Cases where only the time-out of the board stops the motors, by damping; else torque ends."""
ARMED_WITHIN_S = 60.0
LIES_STILL_S = 1.0
TRIES = 3
ESTOPPED = 2  # bit of the board's faults


def arguments(through: str, port: str, run: Path, more: tuple[str, ...]) -> tuple[object, ...]:
    """Arguments of the `robot` command that drives the robot."""
    sets = [text for one in more for text in ("--set", one)]
    if through == "stand-up":
        return ("stand-up", "--port", port, "--seconds", 600, *sets)
    return ("learn", "--port", port, "--terrain", "flat", "--run-dir", run, "--json", *sets)


def wait_until_it_moves(process: subprocess.Popen[str], log: Log, begin_s: float) -> bool:
    """Wait for torque; return whether it came on in time."""
    end_s = time.monotonic() + ARMED_WITHIN_S
    while time.monotonic() < end_s and process.poll() is None:
        if log.since(begin_s, "torque"):
            return True
        time.sleep(0.01)
    return False


def act(case: str, process: subprocess.Popen[str], supervisor: int, board_pid: int) -> None:
    """Cause the failure of this case."""
    if case == "estop":
        from walkhome.safety.supervisor import estop

        estop.press("benchmark")
    elif case == "frozen":
        process.send_signal(signal.SIGSTOP)
    elif case == "unplugged":
        os.kill(board_pid, signal.SIGUSR1)
    else:
        if case == "both":
            kill([supervisor])
        process.kill()


def stopped_ms(case: str, log: Log, begin_s: float) -> float | None:
    """Time from the failure to the stop, ms; None if it never stopped."""
    ended_s = None
    while ended_s is None and time.monotonic() - begin_s < 3.0:
        time.sleep(0.01)
        ended_s = log.damped_s(begin_s) if case in DAMPS else log.torque_ends_s(begin_s, 0.15)
    if case == "unplugged" and (pulled := log.since(begin_s, "unplugged")):
        begin_s = float(pulled[0]["monotonic_s"])
    return None if ended_s is None else 1e3 * (ended_s - begin_s)


def trial(
    case: str,
    what: tuple[object, ...],
    where: tuple[str, Log, int, Path],
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """Run one trial; None if the robot never moved."""
    port, log, board_pid, folder = where
    begin_s = time.monotonic()
    process = start(folder, *what)
    supervisor = 0
    try:
        if not wait_until_it_moves(process, log, begin_s):
            return None
        supervisor = child_of(process.pid, "walkhome.safety.supervisor.process")
        time.sleep(
            float(rng.uniform(0.2, 1.2))
        )  # at a random phase of a period, while standing up or walking
        begin_s = time.monotonic()
        if not log.torque_at(begin_s):
            return {"early": True, "ms": None, "faults": 0}
        act(case, process, supervisor, board_pid)
        ms = stopped_ms(case, log, begin_s)
        modes = log.since(0.0, "mode")
        return {"early": False, "ms": ms, "faults": modes[-1]["faults"] if modes else 0}
    finally:
        kill([process.pid, supervisor] if supervisor else [process.pid])
        process.wait()
        release(port)


def release(port: str) -> None:
    """Clear the faults of the board and the emergency stop."""
    from walkhome.hardware.robot import RobotError
    from walkhome.hardware.serial.board import SerialRobot
    from walkhome.robot.config.schema import RobotConfig
    from walkhome.safety.supervisor import estop

    estop.clear()
    end_s = time.monotonic() + 5.0
    while True:
        robot = SerialRobot(port, RobotConfig().to_body())
        try:
            robot.open()
            robot.clear_faults()
        except RobotError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)
        else:
            break
        finally:
            robot.close()
    time.sleep(LIES_STILL_S)


def measure(trials: int, through: str, cases: tuple[str, ...] = CASES) -> dict[str, Any]:
    """Measure all cases in turns.

    Args:
        trials: number of trials of each case.
        through: verb that drives the robot: `learn`, or `stand-up`, which starts sooner.
        cases: some of `CASES`.

    Returns:
        Results per case, see `figures`, and the number of trials in which the robot did not move.
    """
    rng = np.random.default_rng(0)
    found: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
    no_trial = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            os.environ[variable] = name  # use a separate emergency stop, not the user's
        with board(folder) as (port, log, board_pid):
            for i in range(trials):
                for case in cases:
                    for k in range(TRIES):
                        what = arguments(through, port, folder / f"{case}{i}.{k}", ())
                        one = trial(case, what, (port, log, board_pid, folder), rng)
                        if one is not None:
                            found[case].append(one)
                            break
                        no_trial += 1
                    else:
                        said = (folder / "said").read_text()[-2000:]
                        raise SystemExit(f"the robot did not move, {TRIES} times:\n{said}")
                if sys.stderr.isatty():
                    print(f"\r{i + 1}/{trials}", end="", file=sys.stderr)
    return {"through": through, "no_trial": no_trial, **{c: figures(c, found[c]) for c in cases}}


def figures(case: str, all_of: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of the trials of one case."""
    ms = [one["ms"] for one in all_of if one["ms"] is not None]
    values = np.array(ms or [1e9])
    return {
        "trials": len(all_of),
        "never_stopped": sum(one["ms"] is None and not one["early"] for one in all_of),
        "stopped_early": sum(one["early"] for one in all_of),
        "by_supervisor": sum(bool(one["faults"] & ESTOPPED) for one in all_of),
        "median_ms": float(np.median(values)),
        "p95_ms": float(np.quantile(values, 0.95)),
        "worst_ms": float(values.max()),
        "limit_ms": LIMIT_MS[case],
        "over_limit": int((values > LIMIT_MS[case]).sum()),
        "all_ms": [round(float(v), 2) for v in values],
    }


def format_result(case: str, r: dict[str, Any]) -> str:
    """One line of text."""
    what = "damped" if case in DAMPS else "torque ends"
    return (
        f"{case:>9}: {what} after {r['median_ms']:.1f} ms (median; 95 % {r['p95_ms']:.1f}, worst "
        f"{r['worst_ms']:.1f}), over {r['limit_ms']:g} ms {r['over_limit']} of {r['trials']}; "
        f"never {r['never_stopped']}, before it happened {r['stopped_early']}; "
        f"by the supervisor {r['by_supervisor']}"
    )

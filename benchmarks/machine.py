# SPDX-License-Identifier: MIT
"""Measures how the machine itself disturbs a real-time measurement; see `realtime.py`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from board_process import ROOT

CONTROL_RATE_HZ = 50


def stolen_s() -> float:
    """CPU steal time of a virtual machine since boot, s; 0 where it is unknown."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 0.0
    ticks = int(stat.read_text().splitlines()[0].split()[8])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """Measure disturbances inside the block; the yielded dict is filled in at its end.

    `load_1min` is the load, `stolen` the share of CPU steal time. `witness` is the lateness of a
    process that only ticks at 50 Hz with real-time priority: no control loop can do better.
    """
    found: dict[str, Any] = {}
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("realtime.py")
    command = [sys.executable, str(script), "--tick", str(CONTROL_RATE_HZ), "1e6", "real_time"]
    witness = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True)
    begin_s, stolen_before_s = time.monotonic(), stolen_s()
    try:
        yield found
        took_s = time.monotonic() - begin_s
        found["load_1min"] = os.getloadavg()[0]
        found["stolen"] = (stolen_s() - stolen_before_s) / (took_s * (os.cpu_count() or 1))
        witness.send_signal(signal.SIGTERM)
        found["witness"] = json.loads(witness.communicate(timeout=10.0)[0])
    finally:
        witness.kill()
        witness.wait()


def format_result(found: dict[str, Any]) -> str:
    """One line of text."""
    late = found["witness"]
    return (
        f"meanwhile a process that only ticks was late by p99.9 {late['p99_9_ms']:.2f} ms, worst "
        f"{late['max_ms']:.2f}; load {found['load_1min']:.1f}, "
        f"{100.0 * found['stolen']:.1f} % of the processors stolen by the host"
    )

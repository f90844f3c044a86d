# SPDX-License-Identifier: MIT
"""Real-time scheduling: SCHED_FIFO priority, locked memory, no pauses by the garbage collector.

Every function works without the rights to do so: it asks the system, and reports what was refused.
Priorities, from high to low: supervisor, control thread, side threads of the control process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

CONTROL_PRIORITY = 50
SIDE_THREAD_PRIORITY = 40
"""Threads beside the control thread (writers): control may wait for the GIL that they hold."""
SUPERVISOR_PRIORITY = 60
"""Above control: the supervisor must run even while the control thread spins."""
SWITCH_S = 5e-4
_MCL_CURRENT, _MCL_FUTURE = 1, 2


@dataclass(frozen=True)
class Granted:
    """What the system granted.

    Attributes:
        scheduler: SCHED_FIFO runs with the requested priority.
        memory: pages are locked in memory.
        refused: a line per refused request: why, and what to do about it.
    """

    scheduler: bool
    memory: bool
    refused: tuple[str, ...]


def prioritise(priority: int, lock_future: bool = False) -> Granted:
    """Give this thread real-time priority, lock memory, and switch the garbage collector off.

    Threads and processes started later do not inherit the priority. Work that repeats every period
    must not create reference cycles, because the collector stays off; see `collect`.

    Args:
        priority: SCHED_FIFO priority, 1 to 99.
        lock_future: also lock memory that is allocated later; only for a process that stays small.

    Returns:
        What was granted; never raises if the system refuses.
    """
    gc.collect()
    gc.freeze()  # a full collection took 126 ms with torch loaded, and 0.0 ms after a freeze
    gc.disable()
    refused: list[str] = []
    scheduler = _fifo(priority, refused)
    memory = _lock(lock_future, refused)
    return Granted(scheduler, memory, tuple(refused))


@contextlib.contextmanager
def on_time(priority: int) -> Iterator[Granted]:
    """Context manager: `prioritise` inside the block, ordinary scheduling after it."""
    collected, interval_s = gc.isenabled(), sys.getswitchinterval()
    try:
        # How long another thread may keep the GIL when this one asks for it.
        sys.setswitchinterval(SWITCH_S)
        yield prioritise(priority)
    finally:
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
        if collected:
            gc.enable()
        if hasattr(os, "sched_setscheduler"):
            with contextlib.suppress(OSError):  # then the thread keeps its priority until it ends
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).munlockall()


def prioritise_side_thread(priority: int) -> bool:
    """Give this thread real-time priority, and nothing else; return whether it was granted.

    For a thread that works occasionally beside a control thread. While it holds the GIL the control
    thread waits for it, so ordinary processes must not preempt it. Does nothing unless the main
    thread of the process has real-time priority.

    Args:
        priority: SCHED_FIFO priority, normally `SIDE_THREAD_PRIORITY`.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    main_thread = os.sched_getscheduler(os.getpid()) & ~os.SCHED_RESET_ON_FORK
    return main_thread == os.SCHED_FIFO and _fifo(priority, [])


def collect() -> None:
    """Collect garbage if `prioritise` has switched the collector off; call it when time allows.

    Objects from before `prioritise` are frozen and skipped, so it takes well under a millisecond.
    """
    if not gc.isenabled():
        gc.collect()


def _fifo(priority: int, refused: list[str]) -> bool:
    if not hasattr(os, "sched_setscheduler"):
        refused.append("no real-time priority: this system does not support it")
        return False
    try:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError as error:
        refused.append(
            f"no real-time priority ({error.strerror or error}): give your group rtprio {priority} "
            "in /etc/security/limits.d and log in again"
        )
        return False
    return True


def _lock(future: bool, refused: list[str]) -> bool:
    if not sys.platform.startswith("linux"):
        refused.append("memory is not locked: this system has no mlockall")
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | (_MCL_FUTURE if future else 0)) != 0:
        why = os.strerror(ctypes.get_errno()).lower()
        refused.append(
            f"memory is not locked ({why}): give your group memlock unlimited in "
            "/etc/security/limits.d and log in again"
        )
        return False
    return True

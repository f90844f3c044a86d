# SPDX-License-Identifier: MIT
"""What the system can do for a process that must be on time: ask for it, and say what it gave."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

CONTROL_PRIORITY = 50
SIDE_PRIORITY = 40
"""Of threads beside control: who waits for the interpreter waits for whoever has it."""
SUPERVISOR_PRIORITY = 60
"""Above control: it must run when control spins."""
SWITCH_S = 5e-4
_MCL_CURRENT, _MCL_FUTURE = 1, 2


@dataclass(frozen=True)
class Granted:
    """What the system gave.

    Attributes:
        scheduler: SCHED_FIFO with the priority asked for.
        memory: pages stay in memory.
        refused: why not, one line each; what to do is in them.
    """

    scheduler: bool
    memory: bool
    refused: tuple[str, ...]


def prioritise(priority: int, lock_future: bool = False) -> Granted:
    """Real-time priority for this thread, memory that stays, and no collector pauses.

    Threads and processes that are started later are ordinary ones again. The garbage collector is
    off afterwards: what the caller does every period must make no reference cycles.

    Args:
        priority: of SCHED_FIFO, 1 to 99.
        lock_future: also lock memory that is allocated later; only for a process that stays small.
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
    """As `prioritise`, for as long as it lasts; the thread is an ordinary one again afterwards."""
    collected, interval_s = gc.isenabled(), sys.getswitchinterval()
    try:
        # How long another thread may keep the interpreter when this one wants it.
        sys.setswitchinterval(SWITCH_S)
        yield prioritise(priority)
    finally:
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
        if collected:
            gc.enable()
        if hasattr(os, "sched_setscheduler"):
            with contextlib.suppress(OSError):  # then it stays what it is until it ends
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).munlockall()


def beside(priority: int) -> bool:
    """Real-time priority for this thread and nothing else; whether it was given.

    For a thread that works now and then beside a control thread: whoever holds the interpreter's
    lock must not be kept from letting it go by ordinary processes. Only where the process's main
    thread has real-time priority too; else nobody is waited for.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    main_thread = os.sched_getscheduler(os.getpid()) & ~os.SCHED_RESET_ON_FORK
    return main_thread == os.SCHED_FIFO and _fifo(priority, [])


def collect() -> None:
    """Collect garbage now, where `prioritise` has switched the collector off; when nothing is due.

    What was there before is frozen and not looked at, so this takes well under a millisecond.
    """
    if not gc.isenabled():
        gc.collect()


def _fifo(priority: int, refused: list[str]) -> bool:
    if not hasattr(os, "sched_setscheduler"):
        refused.append("no real-time priority: this system has none")
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

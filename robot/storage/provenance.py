# SPDX-License-Identifier: MIT
"""Provenance of a run: code version, library versions, machine and command line."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "walkhome",
    "numpy",
    "scipy",
    "torch",
    "pybullet",
    "pydantic",
    "pyyaml",
    "safetensors",
    "pyserial",
)
# The parts of a checkout that a run depends on; changes elsewhere do not make it "dirty".
_SOURCES = (
    "configs",
    "firmware",
    "hardware",
    "learning",
    "native",
    "robot",
    "safety",
    "sim",
    "walkhome",
    "walkhome",
    "pyproject.toml",
)


def provenance(argv: Sequence[str]) -> dict[str, Any]:
    """Collect the provenance of a run that starts now, JSON-able.

    Args:
        argv: the command line to record.
    """
    return {
        "argv": list(argv),
        "git": _git(Path(__file__).resolve().parents[2]),
        "versions": _versions(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "start_utc": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "start_monotonic_s": time.monotonic(),
    }


def _versions() -> dict[str, str | None]:
    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: installed(name) for name in _LIBRARIES}


def _cpu() -> str:
    with contextlib.suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if match:
            return match[1]
    return platform.processor() or "unknown"


def _git(root: Path) -> dict[str, Any] | None:
    """Commit and hash of the differences from it; None outside a checkout of this project."""
    top = _run_git(root, "rev-parse", "--show-toplevel")
    # An installed copy can lie inside another project's repository, whose commit says nothing.
    if top is None or Path(top.decode().strip()) != root:
        return None
    commit = _run_git(root, "rev-parse", "HEAD")
    diff = _run_git(root, "diff", "HEAD", "--binary", "--", *_SOURCES)
    new = _run_git(root, "ls-files", "--others", "--exclude-standard", "--", *_SOURCES)
    if commit is None or diff is None or new is None:
        return None
    return {
        "commit": commit.decode().strip(),
        "dirty": bool(diff or new),
        "diff_sha256": hashlib.sha256(diff).hexdigest() if diff else None,
        "untracked": new.decode(errors="replace").split("\n")[:-1],
    }


def _run_git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is taken from PATH
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None

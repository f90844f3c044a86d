# SPDX-License-Identifier: MIT
"""A run's folder on disk: what was asked, on what, what happened, and what came of it.

    runs/<name>/  config.yaml  provenance.json  events.jsonl  metrics.jsonl  summary.json  journal/

A refusal leaves nothing behind. Events and metrics are one JSON object a line, flushed at once; a
summary replaces the last one atomically. JSON never holds NaN: a number that is not finite is
written as null.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from robot.config import Config, ConfigError, config_to_yaml, read_config

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
# What a run depends on in a checkout; runs/ and notes beside it don't make it another program.
_SOURCES = ("configs", "hardware", "learning", "robot", "safety", "sim", "pyproject.toml")


class RunError(ValueError):
    """A run folder can't be made or read; the message is one line and says what to do."""


class RunFolder:
    """One run's folder, open for writing (`create`) or for reading (`open`)."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._events: IO[str] | None = None
        self._metrics: IO[str] | None = None
        if writable:
            self._events = _append(path / "events.jsonl")
            self._metrics = _append(path / "metrics.jsonl")

    @classmethod
    def create(
        cls, path: Path | None, config: Config, argv: Sequence[str] | None = None
    ) -> RunFolder:
        """Make the folder of a new run.

        Args:
            path: where; None is runs/<terrain>-<UTC time>-s<seed> under the current directory.
            config: the resolved configuration.
            argv: the command line, for the record; None is this process's.

        Raises:
            RunError: there is something at `path` already, or it can't be written.
        """
        if path is None:
            stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
            path = _free_name(Path("runs") / f"{config.terrain.name}-{stamp}-s{config.run.seed}")
        check_creatable(path)
        made: list[Path] = []
        try:
            _make_folders(path, made)
            _make_folders(path / "journal", made)
            write_json(path / "provenance.json", provenance(sys.argv if argv is None else argv))
            # Last: with it, a folder is a run's.
            (path / "config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
        except OSError as error:
            (path / "provenance.json").unlink(missing_ok=True)
            for folder in reversed(made):
                shutil.rmtree(folder, ignore_errors=True)
            raise RunError(f"{path}: can't be made: {_why(error)}; choose another place") from None
        return cls(path, writable=True)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run, for reading.

        Raises:
            RunError: there is no run folder at `path`.
        """
        if not path.exists():
            raise RunError(f"{path}: no such run folder; `robot learn` makes one")
        if not path.is_dir():
            raise RunError(f"{path}: not a folder; name the run's folder")
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path}: not a run folder (no config.yaml in it)")
        return cls(path, writable=False)

    def __enter__(self) -> RunFolder:
        """The folder itself; leaving closes its files."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the folder's files."""
        self.close()

    @property
    def journal(self) -> Path:
        """The folder of the journal's segments."""
        return self.path / "journal"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints; made by whoever writes the first one."""
        return self.path / "checkpoints"

    @cached_property
    def config(self) -> Config:
        """The configuration that the run keeps, read once.

        Raises:
            RunError: config.yaml can't be used.
        """
        try:
            return read_config(self.path / "config.yaml")
        except ConfigError as error:
            raise RunError(str(error)) from None

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event."""
        self._write(self._events, {"event": kind, **fields})

    def metric(self, **fields: Any) -> None:
        """Append one line of metrics."""
        self._write(self._metrics, fields)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json, atomically."""
        write_json(self.path / "summary.json", summary)

    def events(self) -> list[dict[str, Any]]:
        """All events so far; an unfinished last line is left out."""
        return read_jsonl(self.path / "events.jsonl")

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics so far; an unfinished last line is left out."""
        return read_jsonl(self.path / "metrics.jsonl")

    def summary(self) -> dict[str, Any] | None:
        """The newest summary, or None while there is none.

        Raises:
            RunError: the file is not the JSON object that it should be.
        """
        path = self.path / "summary.json"
        if not path.is_file():
            return None
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: can't be read: {error}") from None
        if not isinstance(value, dict):
            raise RunError(f"{path}: not a JSON object")
        return value

    def close(self) -> None:
        """Put events and metrics on the disk and close them; a second call does nothing."""
        for stream in (self._events, self._metrics):
            if stream is not None and not stream.closed:
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()

    def _write(self, stream: IO[str] | None, fields: Mapping[str, Any]) -> None:
        if stream is None:
            raise RunError(f"{self.path}: open for reading only")
        stream.write(_dump(fields) + "\n")
        stream.flush()


def check_creatable(path: Path) -> None:
    """Refuse a place where no run folder can be made, before anything is made.

    Raises:
        RunError: something is there already, or a parent can't be written.
    """
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path}: a broken link is there; choose another place")
    if path.exists():
        if not path.is_dir():
            raise RunError(f"{path}: a file is there; choose another place")
        try:
            if any(path.iterdir()):
                raise RunError(f"{path}: exists already; choose another --run-dir, or remove it")
        except OSError as error:
            raise RunError(f"{path}: {_why(error)}; choose another place") from None
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise RunError(f"{path}: {parent} is not a folder; choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{path}: {parent} can't be written; choose another place")


def provenance(argv: Sequence[str]) -> dict[str, Any]:
    """What a run was made with: code, libraries, machine, command line, start time."""
    return {
        "argv": list(argv),
        "git": _git(Path(__file__).resolve().parent),
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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object so that a reader sees the old file or the new one, never half of one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(_dump(value, indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    _sync_folder(path.parent)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a line torn by a crash ends it.

    Raises:
        RunError: a line before the last is not a JSON object.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    out: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RunError(f"{path}:{number}: not a JSON object")
        out.append(value)
    return out


def _append(path: Path) -> IO[str]:
    return path.open("a", encoding="utf-8", buffering=1)


def _dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, indent=indent)


def _plain(value: Any) -> Any:
    """JSON's own types only; NumPy scalars and arrays too, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy, without importing it
        return _plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _free_name(path: Path) -> Path:
    # Two runs of one seed within a second: the second gets -2.
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _make_folders(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        parent.mkdir()
        made.append(parent)


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only once its folder is (fsync(2), NOTES).
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and a hash of what differs from it, or None outside of a checkout of ours."""
    top = _run_git(folder, "rev-parse", "--show-toplevel")
    # Installed in a virtual environment inside somebody's own repository, theirs says nothing.
    if top is None or Path(top.decode().strip()) != folder.parent:
        return None
    commit = _run_git(folder, "rev-parse", "HEAD")
    diff = _run_git(folder.parent, "diff", "HEAD", "--binary", "--", *_SOURCES)
    new = _run_git(folder.parent, "ls-files", "--others", "--exclude-standard", "--", *_SOURCES)
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
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is where PATH says
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None

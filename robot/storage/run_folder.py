# SPDX-License-Identifier: MIT
"""The folder of a run: configuration, provenance, events, metrics, journal and results.

    runs/<name>/  config.yaml  provenance.json  events.jsonl  metrics.jsonl  summary.json  journal/
                  checkpoints/  latest  best  policy.safetensors  lock

If a folder can't be created, nothing is left behind. Events and metrics are one JSON object per
line, written at once; the summary is replaced atomically. JSON never holds NaN: a number that is
not finite is written as null. One process at a time may write. It holds a lock on the folder,
which the system releases when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any

from walkhome.named_lock import LockHeld, NamedLock
from walkhome.robot.config.resolve import ConfigError, config_to_yaml, read_config
from walkhome.robot.config.schema import Config
from walkhome.robot.storage.atomic_files import (
    FileDamaged,
    JsonLines,
    read_jsonl,
    why,
    write_json,
    write_text,
)
from walkhome.robot.storage.provenance import provenance


class RunError(ValueError):
    """A run folder can't be created or read; the message is one line and says what to do."""


class RunFolder:
    """The folder of one run: open for writing (`create`, `resume`) or for reading (`open`).

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, lock: NamedLock | None) -> None:
        self.path = path
        self._lock = lock
        self._events: JsonLines | None = None
        self._metrics: JsonLines | None = None
        self._later: Callable[[Callable[[], object]], object] | None = None
        if lock is not None:
            self._events = JsonLines(path / "events.jsonl")
            self._metrics = JsonLines(path / "metrics.jsonl")

    @classmethod
    def create(
        cls, path: Path | None, config: Config, argv: Sequence[str] | None = None
    ) -> RunFolder:
        """Create the folder of a new run and open it for writing.

        Args:
            path: the folder; None for runs/<terrain>-<UTC time>-s<seed> in the current directory.
            config: the resolved configuration.
            argv: the command line to record; None for this process's.

        Raises:
            RunError: `path` exists and is not empty, or can't be written.
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
            # Last, because config.yaml is what makes a folder a run folder.
            write_text(path / "config.yaml", config_to_yaml(config))
            return cls(path, _lock_folder(path))
        except OSError as error:
            (path / "provenance.json").unlink(missing_ok=True)
            for folder in reversed(made):
                if folder == path or path in folder.parents:
                    shutil.rmtree(folder, ignore_errors=True)
                else:  # another run may have been created in it meanwhile
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            raise RunError(
                f"{path}: can't be created: {why(error)}; choose another place"
            ) from None

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run for reading.

        Raises:
            RunError: there is no run folder at `path`.
        """
        _check_is_run(path)
        return cls(path, None)

    @classmethod
    def resume(
        cls, path: Path, minutes: float | None = None, argv: Sequence[str] | None = None
    ) -> RunFolder:
        """Open an existing run for writing; an incomplete last line of its logs is cut off.

        Args:
            path: the run's folder.
            minutes: new total of robot minutes, saved in its config.yaml; None keeps the old one.
            argv: the command line to record; None for this process's.

        Raises:
            RunError: there is no run, another process writes to it, or it can't be written.
        """
        _check_is_run(path)
        try:
            run = cls(path, _lock_folder(path))
            made = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
            if minutes is not None and minutes != run.config.run.minutes:
                budget = run.config.run.model_copy(update={"minutes": minutes})
                changed = run.config.model_copy(update={"run": budget})
                write_text(path / "config.yaml", config_to_yaml(changed))
                run.__dict__.pop("config", None)
            again = provenance(sys.argv if argv is None else argv)
            made["resumed"] = [*made.get("resumed", []), again]
            write_json(path / "provenance.json", made)
        except (OSError, ValueError) as error:
            if isinstance(error, RunError):
                raise
            cause = why(error) if isinstance(error, OSError) else str(error)
            raise RunError(f"{path}: can't be resumed: {cause}") from None
        return run

    @property
    def trouble(self) -> str:
        """Why events or metrics can't be written now; empty while they can."""
        return next((s.trouble for s in (self._events, self._metrics) if s and s.trouble), "")

    def __enter__(self) -> RunFolder:
        """The folder itself; leaving closes its files."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the folder's files; an earlier exception takes precedence over a failure here."""
        try:
            self.close()
        except OSError:
            if error is None:
                raise

    @property
    def journal(self) -> Path:
        """The folder of the journal's segments."""
        return self.path / "journal"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints; created with the first one."""
        return self.path / "checkpoints"

    @cached_property
    def config(self) -> Config:
        """The run's configuration, read once from config.yaml.

        Raises:
            RunError: config.yaml can't be used.
        """
        try:
            return read_config(self.path / "config.yaml")
        except ConfigError as error:
            raise RunError(str(error)) from None

    def write_with(self, later: Callable[[Callable[[], object]], object] | None) -> None:
        """Defer writes of events and metrics to an executor, so that the caller never waits.

        Args:
            later: takes a function to call later, in order; None writes at once again.
        """
        self._later = later

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event of this kind, with JSON-able fields, to events.jsonl."""
        self._write(self._events, {"event": kind, **fields})

    def metric(self, **fields: Any) -> None:
        """Append a line of JSON-able metrics to metrics.jsonl."""
        self._write(self._metrics, fields)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json in one step."""
        write_json(self.path / "summary.json", summary)

    def events(self) -> list[dict[str, Any]]:
        """All events of the run, in order.

        A run that was killed and resumed continues from a checkpoint. Events between that
        checkpoint and the kill are left out, because the resumed run repeats them.

        Raises:
            RunError: events.jsonl is damaged.
        """
        return _that_count(self.path / "events.jsonl")

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics of the run, in order; selected as by `events`."""
        return _that_count(self.path / "metrics.jsonl")

    def summary(self) -> dict[str, Any] | None:
        """The newest summary, or None while there is none.

        Raises:
            RunError: summary.json can't be read or is not a JSON object.
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
        """Write and fsync events and metrics, close them, and release the lock.

        Raises:
            OSError: the last lines can't be written.
        """
        try:
            for stream in (self._events, self._metrics):
                if stream is not None:
                    stream.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _write(self, stream: JsonLines | None, fields: Mapping[str, Any]) -> None:
        if stream is None:
            raise RunError(f"{self.path}: open for reading only")
        if self._later is None:
            stream.write(fields)
        else:
            self._later(partial(stream.write, fields))


def _check_is_run(path: Path) -> None:
    if not path.exists():
        raise RunError(f"{path}: no such run folder; `robot learn` makes one")
    if not path.is_dir():
        raise RunError(f"{path}: not a folder; name the run's folder")
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path}: not a run folder (no config.yaml in it)")


def _lock_folder(path: Path) -> NamedLock:
    """The folder's lock, held until it is released or the process ends."""
    lock = NamedLock(path / "lock")
    try:
        lock.acquire(f"on {platform.node()}")
    except LockHeld as held:
        raise RunError(
            f"{path}: {held.holder} writes to this run; wait for it, or stop it"
        ) from None
    return lock


def _that_count(path: Path) -> list[dict[str, Any]]:
    """Lines of a log without those that a resumed run repeats, and without the resume marks."""
    try:
        lines = read_jsonl(path)
    except FileDamaged as error:
        raise RunError(str(error)) from None
    out: list[dict[str, Any]] = []
    for line in lines:
        if "resumed_at_s" in line:
            out = [known for known in out if known.get("robot_s", 0.0) <= line["resumed_at_s"]]
        else:
            out.append(line)
    return out


def check_creatable(path: Path) -> None:
    """Check that a run folder can be created at `path`, without creating anything.

    Raises:
        RunError: `path` exists and is not empty, or a parent folder can't be read or written.
    """
    try:
        _check_creatable(path)
    except OSError as error:  # a parent folder that this user may not read
        raise RunError(f"{path}: {why(error)}; choose another place") from None


def _check_creatable(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path}: a broken link is there; choose another place")
    if path.exists():
        if not path.is_dir():
            raise RunError(f"{path}: a file is there; choose another place")
        try:
            if any(path.iterdir()):
                raise RunError(f"{path}: exists already; choose another --run-dir, or remove it")
        except OSError as error:
            raise RunError(f"{path}: {why(error)}; choose another place") from None
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise RunError(f"{path}: {parent} is not a folder; choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{path}: {parent} can't be written; choose another place")


def _free_name(path: Path) -> Path:
    # Of two runs with the same seed in the same second, the second gets the suffix -2.
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
        try:
            parent.mkdir()
        except FileExistsError:
            if parent == missing[0]:  # the requested folder itself
                raise
            continue  # another run created this parent a moment ago
        made.append(parent)

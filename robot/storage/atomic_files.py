# SPDX-License-Identifier: MIT
"""JSON and text files that survive a crash: replaced whole, or appended to line by line.

JSON never holds NaN: a number that is not finite is written as null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from walkhome.durable_files import write_atomically


class FileDamaged(ValueError):  # noqa: N818 - says what is wrong with it
    """A file has invalid content; the message says which file and what is wrong."""


class JsonLines:
    """Appends JSON objects to a file, one per line.

    Lines that can't be written stay in memory and are written with a later one. A line that a crash
    left incomplete at the end of the file is cut off when the file is opened.

    Args:
        path: the file; created if it does not exist.

    Attributes:
        trouble: why lines can't be written now; empty while they can.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self._path = path
        self._pending = b""
        self._file = path.open("ab", buffering=0)
        self._cut_torn_line()

    def write(self, value: Mapping[str, Any]) -> None:
        """Append one line; after an error the file still ends with a whole line."""
        self._pending += dump(value).encode() + b"\n"
        try:
            self._put()
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._path}: {why(error)}"

    def close(self) -> None:
        """Write the remaining lines, fsync and close; a second call does nothing.

        Raises:
            OSError: the lines can't be written; they are lost.
        """
        if self._file.closed:
            return
        try:
            self._put()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        finally:
            self._file.close()

    def _put(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        try:
            left = memoryview(self._pending)
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(end)
            raise
        self._pending = b""

    def _cut_torn_line(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object so that a reader sees the old file or the new one, never half of one."""
    write_text(path, dump(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Create or replace a UTF-8 text file in one step; see `durable_files.write_atomically`."""
    write_atomically(path, text.encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSON-lines file; empty if there is no file.

    An incomplete last line, left by a crash, is ignored.

    Raises:
        FileDamaged: another line is not a JSON object.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    out: list[dict[str, Any]] = []
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # text after the last newline is an incomplete line
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise FileDamaged(f"{path}:{number}: not a JSON object")
        out.append(value)
    return out


def dump(value: Any, indent: int | None = None) -> str:
    """A value as JSON text; numbers that are not finite become null."""
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, indent=indent)


def _plain(value: Any) -> Any:
    """Convert to JSON's own types, NumPy scalars and arrays too; not finite becomes None."""
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
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def why(error: OSError) -> str:
    """The system's reason of an error in lower case, for the middle of a sentence."""
    return (error.strerror or str(error)).lower()

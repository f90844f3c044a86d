# SPDX-License-Identifier: MIT
"""Every control step on disk: append-only fixed-size records, each with its own CRC-32.

A journal is a folder of segments 000000.bin, 000001.bin, ... A segment is

    magic (8 bytes) | header length u32 | header CRC-32 u32 | header (JSON) | record | record | ...

and a record is the packed little-endian fields of `RECORD`, then the CRC-32 of those bytes. The
header names every field with its dtype, shape and unit, so a segment can be read without this code.
Appending copies into a buffer; a thread writes and fsyncs it, at least once a second by the wall
clock. Each writer starts its own segment, so what a crash tore is never appended to.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

MAGIC = b"WALKHOME"
FORMAT_VERSION = 1
_PREFIX = struct.Struct("<8sII")
_CRC = struct.Struct("<I")

PHASE_EPISODE = 0
PHASE_STAND_UP = 1
PHASE_WAITING = 2

FLAG_FALL = 1
FLAG_EXIT = 2
FLAG_TIMEOUT = 4
FLAG_FIRST = 8
FLAG_LAST = 16

# name, dtype, shape, unit: one table for the code and for the header.
FIELDS: tuple[tuple[str, str, tuple[int, ...], str], ...] = (
    ("step", "<u8", (), "1"),
    ("time_s", "<f8", (), "s"),
    ("episode", "<i4", (), "1"),
    ("task", "<i2", (), "index into the run's tasks, -1 for none"),
    ("phase", "<u1", (), "0 episode, 1 stand-up, 2 waiting"),
    ("flags", "<u2", (), "1 fall, 2 exit, 4 timeout, 8 first, 16 last"),
    ("observation_frame", "<f4", (21,), "scaled"),
    ("action", "<f4", (8,), "scaled, the policy's"),
    ("filtered", "<f4", (8,), "scaled, after the low-pass"),
    ("sent", "<f4", (8,), "rad, as sent after limits"),
    ("pose", "<f8", (3,), "m, m, rad: x, y, yaw in the world"),
    ("attitude", "<f4", (2,), "rad: roll, pitch"),
    ("costs", "<f4", (2,), "rad: pitch, roll beyond their limits"),
    ("torque", "<f4", (8,), "N m"),
    ("battery", "<f4", (), "V"),
    ("motor_angle", "<f4", (8,), "rad"),
    ("velocity", "<f4", (4,), "reward features"),
)
RECORD = np.dtype([(name, dtype, shape) for name, dtype, shape, _ in FIELDS])


class JournalError(RuntimeError):
    """A journal can't be written or read; the message says what and where."""


@dataclass(frozen=True)
class JournalData:
    """What `read_journal` found.

    Attributes:
        records: structured array of `RECORD`, in the order they were written.
        skipped_bytes: bytes of torn or damaged tails that were left out.
    """

    records: npt.NDArray[Any]
    skipped_bytes: int


class JournalWriter:
    """Appends records; `append` only copies, a thread does the disk.

    Args:
        folder: the journal's folder; made if it is not there.
        sync_every_s: longest wall time between two fsyncs while there is something to write.
        segment_records: records per segment, after which the next file starts.
    """

    def __init__(
        self, folder: Path, *, sync_every_s: float = 0.5, segment_records: int = 500_000
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._sync_every_s = sync_every_s
        self._segment_records = segment_records
        self._row = np.zeros((), RECORD)
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._error: BaseException | None = None
        self._segment = _next_segment(folder)
        self._in_segment = 0
        self._file = _open_segment(folder, self._segment)
        self.written = 0  # records appended
        self.synced = 0  # records known to be on the disk
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def append(self, **fields: npt.ArrayLike) -> None:
        """Append one record, from values for exactly the names in `FIELDS`.

        Raises:
            JournalError: the disk failed since the last call, or a field is missing or unknown.
        """
        if self._error is not None:
            raise self._failure()
        if self._closing:
            raise JournalError(f"{self._folder}: the journal is closed")
        if fields.keys() != RECORD.fields.keys():  # type: ignore[union-attr]
            odd = fields.keys() ^ RECORD.fields.keys()  # type: ignore[union-attr]
            raise JournalError(f"{self._folder}: missing or unknown fields {sorted(odd)}")
        for name, value in fields.items():
            self._row[name] = value
        payload = self._row.tobytes()
        packed = payload + _CRC.pack(zlib.crc32(payload))
        with self._lock:
            self._pending += packed
            self.written += 1

    def flush(self) -> None:
        """Write and fsync everything appended so far; waits for the disk.

        Raises:
            JournalError: the disk failed.
        """
        target = self.written
        while self.synced < target and self._error is None and self._thread.is_alive():
            self._wake.set()
            time.sleep(0.001)
        if self._error is not None:
            raise self._failure()

    def close(self) -> None:
        """Put everything on the disk and end the thread; a second call does nothing.

        Raises:
            JournalError: the disk failed.
        """
        self._closing = True
        self._wake.set()
        self._thread.join()
        if not self._file.closed:
            self._file.close()
            if self._error is not None:
                raise self._failure()

    def __enter__(self) -> JournalWriter:
        """The writer itself; leaving closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the writer."""
        self.close()

    def _failure(self) -> JournalError:
        return JournalError(f"{self._folder}: can't be written: {self._error}")

    def _work(self) -> None:
        try:
            while True:
                self._wake.wait(self._sync_every_s)
                self._wake.clear()
                closing = self._closing  # before the drain: what comes first is still written
                self._drain()
                if closing:
                    return
        except OSError as error:
            self._error = error

    def _drain(self) -> None:
        with self._lock:
            data, self._pending = self._pending, bytearray()
        size = RECORD.itemsize + _CRC.size
        view = memoryview(data)
        while len(view):
            if self._in_segment == self._segment_records:
                self._next_file()
            room = min(len(view), (self._segment_records - self._in_segment) * size)
            self._file.write(view[:room])
            self._file.flush()
            os.fsync(self._file.fileno())
            self._in_segment += room // size
            self.synced += room // size
            view = view[room:]

    def _next_file(self) -> None:
        self._file.close()
        self._segment += 1
        self._file = _open_segment(self._folder, self._segment)
        self._in_segment = 0


def read_journal(folder: Path) -> JournalData:
    """All whole records of a journal, in order.

    A torn or damaged record ends its segment; what follows in that segment is counted, not used.

    Raises:
        JournalError: there is no journal, or a segment is of another format.
    """
    segments = sorted(folder.glob("*.bin"))
    if not segments:
        raise JournalError(f"{folder}: no journal there")
    parts, skipped = [], 0
    for path in segments:
        records, left = _read_segment(path)
        parts.append(records)
        skipped += left
    return JournalData(np.concatenate(parts), skipped)


def header() -> dict[str, Any]:
    """What every segment says about itself."""
    fields = [
        {"name": name, "dtype": dtype, "shape": list(shape), "unit": unit}
        for name, dtype, shape, unit in FIELDS
    ]
    text = json.dumps(fields, sort_keys=True).encode()
    return {
        "version": FORMAT_VERSION,
        "fields": fields,
        "schema_sha256": hashlib.sha256(text).hexdigest(),
        "record_bytes": RECORD.itemsize,
        "crc": "CRC-32 (zlib) of the record's bytes, u32 little-endian, after each record",
    }


def _next_segment(folder: Path) -> int:
    return max((int(p.stem) for p in folder.glob("*.bin") if p.stem.isdigit()), default=-1) + 1


def _open_segment(folder: Path, number: int) -> IO[bytes]:
    text = json.dumps(header()).encode()
    # Mode x: two writers on one journal is an error, not a mixture.
    stream = (folder / f"{number:06d}.bin").open("xb")
    stream.write(_PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text)
    stream.flush()
    os.fsync(stream.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return stream


def _read_segment(path: Path) -> tuple[npt.NDArray[Any], int]:
    data = path.read_bytes()
    start = _check_header(path, data)
    if start is None:  # killed while the segment was being started
        return np.zeros(0, RECORD), len(data)
    body = memoryview(data)[start:]
    packed = np.dtype([("record", RECORD), ("crc", "<u4")])
    count = len(body) // packed.itemsize
    rows = np.frombuffer(body, packed, count)
    size = RECORD.itemsize
    good = 0
    for crc in rows["crc"].tolist():
        offset = good * packed.itemsize
        if zlib.crc32(body[offset : offset + size]) != crc:
            break
        good += 1
    return rows["record"][:good].copy(), len(body) - good * packed.itemsize


def _check_header(path: Path, data: bytes) -> int | None:
    """Where the records start, or None when the header itself is torn."""
    if len(data) < _PREFIX.size:
        return None
    magic, length, crc = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise JournalError(f"{path}: not a journal segment")
    text = data[_PREFIX.size : _PREFIX.size + length]
    if len(text) < length:
        return None
    if zlib.crc32(text) != crc:
        raise JournalError(f"{path}: its header is damaged")
    said, ours = json.loads(text), header()
    if said.get("version") != FORMAT_VERSION:
        raise JournalError(
            f"{path}: format {said.get('version')}; this version reads {FORMAT_VERSION}"
        )
    if said.get("schema_sha256") != ours["schema_sha256"]:
        raise JournalError(f"{path}: other fields than this version's; use the one that wrote it")
    return _PREFIX.size + int(length)

# SPDX-License-Identifier: MIT
"""Every control period on disk: append-only fixed-size records, each with its own CRC-32.

A journal is a folder of segments 000000.bin, 000001.bin, ... A segment is

    magic (8 bytes) | header length u32 | header CRC-32 u32 | header (JSON) | record | record | ...

and a record is the packed little-endian fields of `RECORD`, then the CRC-32 of those bytes. The
header names every field with its dtype, shape and unit, so a segment can be read without this code
(docs/run-folder.md), and says which record of the run its first one is: a segment replaces what
older ones hold from there on, which is how a resumed run goes on from its checkpoint without
touching a byte that is on the disk. `robot.storage.journal_writer` appends.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"WALKHOME"
FORMAT_VERSION = 2
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
FLAG_START = 32
FLAG_STOP = 64

# name, dtype, shape, unit: one table for the code and for the header.
FIELDS: tuple[tuple[str, str, tuple[int, ...], str], ...] = (
    ("index", "<u8", (), "1, records since the run's start"),
    ("step", "<u8", (), "1, control steps of episodes so far"),
    ("time_s", "<f8", (), "s, the robot's monotonic clock"),
    ("robot_s", "<f8", (), "s, of moving, standing up and waiting so far"),
    ("episode", "<i4", (), "1, finished episodes before this one"),
    ("task", "<i2", (), "index into the run's tasks, -1 for none"),
    ("phase", "<u1", (), "0 episode, 1 stand-up, 2 waiting"),
    ("flags", "<u2", (), "1 fall, 2 exit, 4 timeout, 8 first, 16 last, 32 start, 64 stop"),
    ("observation_frame", "<f4", (21,), "scaled"),
    ("action", "<f4", (8,), "scaled, the policy's"),
    ("filtered", "<f4", (8,), "scaled, after the low-pass"),
    ("sent", "<f4", (8,), "rad, as sent after limits"),
    ("pose", "<f8", (3,), "m, m, rad: x, y, yaw in the world"),
    ("attitude", "<f4", (2,), "rad: roll, pitch"),
    ("costs", "<f8", (2,), "rad: pitch, roll beyond their limits"),
    ("features", "<f8", (7,), "what rewards are linear in: m/s, m/s, rad/s, m/s, rad/s, 1, 1"),
    ("torque", "<f4", (8,), "N m"),
    ("battery", "<f4", (), "V"),
    ("motor_angle", "<f4", (8,), "rad"),
)
RECORD = np.dtype([(name, dtype, shape) for name, dtype, shape, _ in FIELDS])


class JournalError(RuntimeError):
    """A journal can't be written or read; the message says what and where."""


@dataclass(frozen=True)
class JournalData:
    """What `read_journal` found.

    Attributes:
        records: structured array of `RECORD`, in order; a record's `index` tells of gaps.
        skipped_bytes: bytes of torn or damaged records that were left out.
    """

    records: npt.NDArray[Any]
    skipped_bytes: int


def read_journal(folder: Path) -> JournalData:
    """All whole records of a journal, in order.

    Torn and damaged records are left out and counted.

    Raises:
        JournalError: there is no journal, or a segment is of another format.
    """
    segments = sorted(folder.glob("*.bin"))
    if not segments:
        raise JournalError(f"{folder}: no journal there")
    parts: list[npt.NDArray[Any]] = []
    skipped = 0
    for path in segments:
        first, records, left = _read_segment(path)
        skipped += left
        if first is not None:
            # What a segment before it says about the same records was taken back.
            parts = [part[part["index"] < first] for part in parts]
            parts.append(records)
    return JournalData(np.concatenate([np.zeros(0, RECORD), *parts]), skipped)


def has_records(folder: Path) -> bool:
    """Whether there is a journal with anything in it, damaged or not."""
    least = len(header_bytes(0)) + RECORD_BYTES
    return any(path.stat().st_size >= least for path in folder.glob("*.bin"))


def header(first_record: int = 0) -> dict[str, Any]:
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
        "first_record": first_record,
        "crc": "CRC-32 (zlib) of the record's bytes, u32 little-endian, after each record",
    }


def header_bytes(first_record: int) -> bytes:
    """A segment's beginning: magic, length, CRC, header."""
    text = json.dumps(header(first_record)).encode()
    return _PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text


def record_bytes(row: npt.NDArray[Any]) -> bytes:
    """One record, () of `RECORD`, and its CRC."""
    payload = row.tobytes()
    return payload + _CRC.pack(zlib.crc32(payload))


RECORD_BYTES = RECORD.itemsize + _CRC.size
"""Length of a record on the disk, CRC included."""


def _read_segment(path: Path) -> tuple[int | None, npt.NDArray[Any], int]:
    """First record (None if the segment was only being started), whole records, bytes left out."""
    data = path.read_bytes()
    found = _check_header(path, data)
    if found is None:
        return None, np.zeros(0, RECORD), len(data)
    start, first = found
    body = memoryview(data)[start:]
    packed = np.dtype([("record", RECORD), ("crc", "<u4")])
    count = len(body) // packed.itemsize
    rows = np.frombuffer(body, packed, count)
    good = np.fromiter(
        (
            zlib.crc32(body[at : at + RECORD.itemsize]) == crc
            for at, crc in zip(
                range(0, count * packed.itemsize, packed.itemsize),
                rows["crc"].tolist(),
                strict=True,
            )
        ),
        np.bool_,
        count,
    )
    whole = rows["record"][good].copy()
    return first, whole, len(body) - len(whole) * packed.itemsize


def _check_header(path: Path, data: bytes) -> tuple[int, int] | None:
    """Where the records start and which is the first; None when the header itself is torn."""
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
            f"{path}: format {said.get('version')}; this version reads {FORMAT_VERSION}: "
            "use the version of walkhome that wrote it"
        )
    if said.get("schema_sha256") != ours["schema_sha256"]:
        raise JournalError(f"{path}: other fields than this version's; use the one that wrote it")
    return _PREFIX.size + int(length), int(said["first_record"])

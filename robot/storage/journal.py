# SPDX-License-Identifier: MIT
"""The journal: one fixed-size record per control period, append-only, each with its CRC-32.

A journal is a folder of segments 000000.bin, 000001.bin, ... A segment is

    magic (8 bytes) | header length u32 | header CRC-32 u32 | header (JSON) | record | record | ...

A record is the packed little-endian fields of `RECORD`, then the CRC-32 of those bytes. The header
names every field with its dtype, shape and unit and the components of every array, so that a
segment can be read without this code (docs/run-folder.md).

The header also holds the index of the segment's first record. A segment replaces all records of
older segments from that index on. A resumed run therefore continues from its checkpoint without
changing a byte that is already on the disk. `robot.storage.journal_writer` appends.
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

from walkhome.robot.mdp import costs
from walkhome.robot.mdp.observation import (
    ACTION_COMPONENTS,
    FRAME_COMPONENTS,
    MOTOR_COMPONENTS,
)
from walkhome.robot.mdp.rewards import FEATURE_NAMES

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

# Name, dtype, shape, unit. The header contains this table and its SHA-256, by which a reader
# recognises the record layout: a changed word here makes all older journals unreadable.
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

COMPONENTS: dict[str, tuple[str, ...]] = {
    "observation_frame": FRAME_COMPONENTS,
    "action": ACTION_COMPONENTS,
    "filtered": ACTION_COMPONENTS,
    "sent": MOTOR_COMPONENTS,
    "pose": ("x", "y", "yaw"),
    "attitude": ("roll", "pitch"),
    "costs": costs.NAMES,
    "features": FEATURE_NAMES,
    "torque": MOTOR_COMPONENTS,
    "motor_angle": MOTOR_COMPONENTS,
}
"""Names of the components of every array field, in order; also in each segment's header.

With `constraint.form: margin` the first cost is the paper's negative margin and the second is 0.
"""


def component(records: npt.NDArray[Any], field: str, name: str) -> npt.NDArray[Any]:
    """One component of an array field, by its name.

    Args:
        records: (n,) of `RECORD`.
        field: name of an array field, e.g. "attitude".
        name: one of `COMPONENTS[field]`, e.g. "pitch".

    Returns:
        (n,), a view.

    Raises:
        KeyError: `field` is not an array field.
        ValueError: the field has no such component.
    """
    return np.asarray(records[field][..., COMPONENTS[field].index(name)])


class JournalError(RuntimeError):
    """A journal can't be written or read; the message says where and why."""


@dataclass(frozen=True)
class JournalData:
    """The content of a journal.

    Attributes:
        records: (n,) of `RECORD`, in order. A gap in `index` marks records that were damaged.
        skipped_bytes: total size of torn or damaged records, which are left out.
    """

    records: npt.NDArray[Any]
    skipped_bytes: int


def read_journal(folder: Path) -> JournalData:
    """Read all whole records of a journal, in order; torn and damaged ones are left out.

    Args:
        folder: the journal's folder, `RunFolder.journal`.

    Raises:
        JournalError: there is no journal, a header is damaged, or a segment has another format.
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
            # This segment replaces the same records of older segments.
            parts = [part[part["index"] < first] for part in parts]
            parts.append(records)
    return JournalData(np.concatenate([np.zeros(0, RECORD), *parts]), skipped)


def has_records(folder: Path) -> bool:
    """True if a segment in `folder` is long enough to hold a record, damaged or not."""
    return any(_may_hold_a_record(path) for path in folder.glob("*.bin"))


def _may_hold_a_record(path: Path) -> bool:
    with path.open("rb") as stream:
        prefix = stream.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return False
    _, header_length, _ = _PREFIX.unpack(prefix)  # older versions write shorter headers
    return path.stat().st_size >= _PREFIX.size + int(header_length) + RECORD_BYTES


def header(first_record: int = 0) -> dict[str, Any]:
    """The header of a segment that starts at record `first_record` of the run, JSON-able."""
    fields = [
        {"name": name, "dtype": dtype, "shape": list(shape), "unit": unit}
        for name, dtype, shape, unit in FIELDS
    ]
    text = json.dumps(fields, sort_keys=True).encode()
    return {
        "version": FORMAT_VERSION,
        "fields": fields,
        "components": {name: list(names) for name, names in COMPONENTS.items()},
        "schema_sha256": hashlib.sha256(text).hexdigest(),
        "record_bytes": RECORD.itemsize,
        "first_record": first_record,
        "crc": "CRC-32 (zlib) of the record's bytes, u32 little-endian, after each record",
    }


def header_bytes(first_record: int) -> bytes:
    """The first bytes of a segment: magic, header length, header CRC and header."""
    text = json.dumps(header(first_record)).encode()
    return _PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text


def record_bytes(row: npt.NDArray[Any]) -> bytes:
    """The bytes of one record, () of `RECORD`, followed by their CRC-32."""
    payload = row.tobytes()
    return payload + _CRC.pack(zlib.crc32(payload))


RECORD_BYTES = RECORD.itemsize + _CRC.size
"""Size of a record on the disk, including its CRC."""


def _read_segment(path: Path) -> tuple[int | None, npt.NDArray[Any], int]:
    """Read one segment.

    Returns:
        Index of its first record (None if the header is torn), its whole records, and the number
        of bytes left out.
    """
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
    """Byte offset of the records and index of the first; None if the header is torn."""
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
    found, ours = json.loads(text), header()
    if found.get("version") != FORMAT_VERSION:
        raise JournalError(
            f"{path}: format {found.get('version')}, but this version of walkhome reads format "
            f"{FORMAT_VERSION}; use the version that wrote the run (provenance.json)"
        )
    # Headers of older versions have no components; their order is the one of `COMPONENTS`.
    same_components = found.get("components", ours["components"]) == ours["components"]
    if found.get("schema_sha256") != ours["schema_sha256"] or not same_components:
        raise JournalError(
            f"{path}: has other fields than this version of walkhome writes; use the version that "
            "wrote the run (provenance.json)"
        )
    return _PREFIX.size + int(length), int(found["first_record"])

# SPDX-License-Identifier: MIT
"""Appends records to a journal without blocking: the caller copies, a thread writes and fsyncs.

    append -> bytes in memory -> thread: write + fsync -> segment

While the disk fails (full, read-only, I/O error), records stay in memory and the thread tries
again. `at_risk_s` is the age of the oldest record that is not on the disk, so that the control loop
can stop the robot before too much is at risk. Each writer, and each recovery from an error, starts
a new segment, so nothing is ever appended to a damaged file.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from walkhome.durable_files import sync_folder
from walkhome.hardware.realtime import SIDE_THREAD_PRIORITY, prioritise_side_thread
from walkhome.robot.storage.journal import (
    RECORD,
    RECORD_BYTES,
    JournalError,
    header_bytes,
    record_bytes,
)

_FIELDS = frozenset(RECORD.names or ()) - {"index"}


class JournalWriter:
    """Appends records to a journal; `append` only copies into memory.

    Args:
        folder: the journal's folder; created if it does not exist.
        first_record: index of the first record that will be appended; it replaces the records of
            older segments from that index on.
        sync_every_s: longest wall time between two fsyncs while there are records to write.
        segment_records: records per segment; then the next file starts.
        clock: returns monotonic seconds.

    Attributes:
        written: index after the last appended record.
        synced: index after the last record that is on the disk.
        error: why records can't be written now; None while they can.

    Raises:
        OSError: the first segment can't be created.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_record: int = 0,
        sync_every_s: float = 0.5,
        segment_records: int = 500_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.written = self.synced = first_record
        self.error: OSError | None = None
        self._folder = folder
        self._sync_every_s = sync_every_s
        self._segment_bytes = segment_records * RECORD_BYTES
        self._clock = clock
        self._row = np.zeros((), RECORD)
        self._pending = bytearray()
        self._waiting_since_s: float | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._drained = threading.Condition(self._lock)
        self._tries = 0
        self._closing = False
        self._file: IO[bytes] | None = None
        self._good_bytes = 0  # size of the file's part that is known to be on the disk
        self._header_bytes = 0
        self._open()  # now, so that a folder that can't be written raises here
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def append(self, **fields: npt.ArrayLike) -> None:
        """Append one record to the journal.

        Args:
            **fields: a value for every name in `FIELDS`, except `index`, which is set here.

        Raises:
            JournalError: the journal is closed, or a field is missing or unknown.
        """
        if self._closing:
            raise JournalError(f"{self._folder}: the journal is closed")
        if fields.keys() != _FIELDS:
            raise JournalError(
                f"{self._folder}: missing or unknown fields {sorted(fields.keys() ^ _FIELDS)}"
            )
        row = self._row
        row["index"] = self.written
        for name, value in fields.items():
            row[name] = value
        packed = record_bytes(row)
        with self._lock:
            self._pending += packed
            self.written += 1
            if self._waiting_since_s is None:
                self._waiting_since_s = self._clock()

    def at_risk_s(self) -> float:
        """Wall time since the oldest record not yet on the disk was appended; 0 if all are."""
        since_s = self._waiting_since_s
        return 0.0 if since_s is None else self._clock() - since_s

    def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until everything appended so far is on the disk.

        Args:
            timeout_s: longest wait.

        Raises:
            JournalError: the disk fails or does not answer in time; the records stay in memory.
        """
        with self._lock:
            target, tries = self.written, self._tries
            self._wake.set()
            self._drained.wait_for(
                lambda: self.synced >= target or (self._tries > tries and self.error is not None),
                timeout_s,
            )
            if self.synced >= target:
                return
        raise self._failure()

    def close(self) -> None:
        """Write everything, fsync and end the thread; a second call does nothing.

        Raises:
            JournalError: the disk failed; the records that are not on it are lost.
        """
        self._closing = True
        self._wake.set()
        self._thread.join()
        if self._file is not None:
            self._file.close()
            self._file = None
        with self._lock:
            lost, self._pending = len(self._pending) // RECORD_BYTES, bytearray()
        if lost:
            raise self._failure()

    def __enter__(self) -> JournalWriter:
        """The writer itself; leaving closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the writer."""
        self.close()

    def _failure(self) -> JournalError:
        waiting = self.written - self.synced
        why = self.error.strerror or str(self.error) if self.error else "the disk does not answer"
        return JournalError(f"{self._folder}: {waiting} records can't be written: {why.lower()}")

    # -- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._wake.wait(self._sync_every_s)
            self._wake.clear()
            prioritise_side_thread(SIDE_THREAD_PRIORITY)
            closing = (
                self._closing
            )  # read before the drain: records appended until then are written
            try:
                self._drain()
                self.error = None
            except OSError as error:
                self._give_up_segment()
                self.error = error
            with self._drained:
                self._tries += 1
                self._drained.notify_all()
            if closing:
                return

    def _drain(self) -> None:
        while self._pending:
            if self._file is None or self._good_bytes - self._header_bytes >= self._segment_bytes:
                self._open()
            room = self._segment_bytes - (self._good_bytes - self._header_bytes)
            with self._lock:
                chunk = bytes(self._pending[:room])
            self._put(chunk)
            with self._lock:
                del self._pending[: len(chunk)]
                self.synced += len(chunk) // RECORD_BYTES
                self._waiting_since_s = self._clock() if self._pending else None

    def _put(self, chunk: bytes) -> None:
        assert self._file is not None
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        os.fsync(self._file.fileno())
        self._good_bytes += len(chunk)

    def _open(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        path = self._folder / f"{_next_segment(self._folder):06d}.bin"
        head = header_bytes(self.synced)
        # Mode x: two writers on one journal is an error, not a mixture.
        stream = path.open("xb", buffering=0)
        try:
            if stream.write(head) != len(head):
                raise OSError(28, "No space left on device")
            os.fsync(stream.fileno())
            sync_folder(self._folder)
        except OSError:
            stream.close()
            with contextlib.suppress(OSError):
                path.unlink()  # else every attempt on a full disk leaves an empty segment
            raise
        self._file = stream
        self._good_bytes = self._header_bytes = len(head)

    def _give_up_segment(self) -> None:
        """After an error the end of the file is unknown: cut it off; `_drain` starts a new one."""
        if self._file is None:
            return
        stream, self._file = self._file, None
        with contextlib.suppress(OSError):
            os.ftruncate(stream.fileno(), self._good_bytes)
        stream.close()


def _next_segment(folder: Path) -> int:
    return max((int(p.stem) for p in folder.glob("*.bin") if p.stem.isdigit()), default=-1) + 1

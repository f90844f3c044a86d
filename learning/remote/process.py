# SPDX-License-Identifier: MIT
"""The control process's side of a learner process: start it, ask it, notice its end.

Nothing of it outlives either process: memory and events are descriptors without names, and the
learner ends when its channel does. It is a fresh interpreter (spawned, not forked), so it holds
none of the control process's locks, devices or threads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from walkhome.learning.remote.channel import Channel, ChannelClosed
from walkhome.learning.remote.handles import Wiring
from walkhome.learning.remote.shared_memory import SharedMemory, make_descriptor
from walkhome.learning.remote.transition_ring import Ring, Sizes, ring_bytes
from walkhome.learning.remote.weight_snapshots import Snapshots

POLL_S = 0.25
EXIT_S = 0.1
"""From hanging up to being gone; a robot may be waiting."""


class LearnerLost(RuntimeError):  # noqa: N818 - says what happened
    """The learner process died, hangs or failed; the message says which."""


@dataclass(frozen=True)
class ProcessSettings:
    """How a learner process is run.

    Attributes:
        command: what starts it; `Wiring.arguments` are added.
        setup: JSON-able, sent to it first.
        sizes: of a transition.
        rows: messages in the ring.
        slots: snapshots.
        publish_every: see `Wiring`.
        threads: of its matrix products.
        start_s: how long it may take until it is ready.
        hang_s: without any progress for so long it is taken for hung.
    """

    command: tuple[str, ...]
    setup: Mapping[str, Any]
    sizes: Sizes
    rows: int = 8192
    slots: int = 2
    publish_every: int = 1
    threads: int = 1
    start_s: float = 120.0
    hang_s: float = 30.0


class LearnerProcess:
    """One learner process and what is shared with it.

    Attributes:
        ring: experience goes in here.
        snapshots: weights come out here; there once it is ready.
        ready: what it said when it was; None before.
    """

    def __init__(self, settings: ProcessSettings, ring_memory: SharedMemory | None = None) -> None:
        """Start it; does not wait until it is ready.

        Args:
            settings: how.
            ring_memory: of a process before it, whose experience this one goes on with.

        Raises:
            OSError: the system does not give what it needs.
        """
        self.settings = settings
        size = ring_bytes(settings.sizes, settings.rows)
        self.ring_memory = ring_memory or SharedMemory(size_bytes=size)
        self.ring = Ring(self.ring_memory.data, settings.sizes, settings.rows)
        self.ready: dict[str, Any] | None = None
        self._snapshots: Snapshots | None = None
        self._snapshot_descriptor = make_descriptor()
        self._told, self._done = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in "12")
        mine, other = socket.socketpair()
        wiring = Wiring(
            other.fileno(),
            self.ring_memory.descriptor,
            self._snapshot_descriptor,
            self._told,
            self._done,
            settings.rows,
            settings.slots,
            settings.publish_every,
            os.getpid(),
        )
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [*settings.command, *wiring.arguments()],
            pass_fds=wiring.descriptors(),
            env=_environment(settings.threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the control process
        )
        other.close()
        self._channel = Channel(mine, settings.hang_s)
        self._poll = select.poll()
        for descriptor in (self._done, mine.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        with contextlib.suppress(ChannelClosed):  # noticed when it is waited for
            self._channel.send(settings.setup)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def snapshots(self) -> Snapshots:
        """Its snapshots."""
        assert self._snapshots is not None, "wait_ready first"
        return self._snapshots

    def wait_ready(self) -> dict[str, Any]:
        """Wait until it is ready; what it says then.

        Raises:
            LearnerLost: it failed, died or took too long.
        """
        waited_s = 0.0
        while not self.poll_ready():
            if waited_s >= self.settings.start_s:
                raise self._lost(f"is not ready after {self.settings.start_s:g} s")
            self._channel.ready(POLL_S)
            waited_s += POLL_S
        assert self.ready is not None
        return self.ready

    def poll_ready(self) -> bool:
        """Whether it is ready; does not wait.

        Raises:
            LearnerLost: it failed or died.
        """
        if self.ready is None and self._channel.ready(0.0):
            ready, _ = self._receive()
            memory = SharedMemory(self._snapshot_descriptor)
            self._snapshots = Snapshots(memory.data, int(ready["weights"]), self.settings.slots)
            self.ready = ready
        return self.ready is not None

    def tell(self) -> None:
        """Say that there is something in the ring."""
        with contextlib.suppress(BlockingIOError):  # it was told 2^64 times and knows
            os.eventfd_write(self._told, 1)

    def ask(self, question: str, blob: bytes = b"", **more: object) -> tuple[dict[str, Any], bytes]:
        """Ask something and wait for the answer.

        Raises:
            LearnerLost: it failed, died or hangs.
        """
        try:
            self._channel.send({"ask": question, **more}, blob)
        except ChannelClosed:
            raise self._gone() from None
        self._wait(lambda: self._channel.ready(0.0))
        return self._receive()

    def wait_for_room(self, rows: int) -> None:
        """Wait until so many messages fit into the ring.

        Raises:
            LearnerLost: it failed, died or hangs.
        """
        if self.ring.room < rows:
            self.tell()
            self._wait(lambda: self.ring.room >= rows, POLL_S / 50.0)

    def wait_for_snapshot(self, number: int) -> None:
        """Wait until a snapshot is published.

        Raises:
            LearnerLost: it failed, died or hangs.
        """
        if self.snapshots.latest < number:
            self.tell()
            self._wait(lambda: self.snapshots.latest >= number)

    def check(self) -> None:
        """Notice its end; does not wait.

        Raises:
            LearnerLost: it failed or died.
        """
        if self._channel.ready(0.0):
            self._receive()
            raise self._lost("answers what nobody asked")

    def close(self, wait_s: float = 5.0) -> None:
        """End it: by hanging up, else by force; safe to call twice."""
        self._channel.close()
        if wait_s > 0.0 and self._process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        self.kill()
        for descriptor in (self._told, self._done, self._snapshot_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._told = self._done = self._snapshot_descriptor = -1

    def hang_up(self) -> None:
        """Let it end by itself."""
        self._channel.close()

    def abandon(self) -> None:
        """End it now and hang up; `close` waits until it is gone."""
        self._channel.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def kill(self) -> None:
        """End it now; waits until it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _wait(self, there: Callable[[], bool], poll_s: float = POLL_S) -> None:
        """Until `there()`; time counts only while this process runs, not while it is suspended."""
        progress, still_s = self.ring.progress, 0.0
        while not there():
            events = self._poll.poll(1000.0 * poll_s)
            for descriptor, _ in events:
                if descriptor == self._done:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(descriptor)
                elif not there():
                    self.check()
            if self.ring.progress != progress:
                progress, still_s = self.ring.progress, 0.0
            elif not events:
                still_s += poll_s
            if still_s >= self.settings.hang_s:
                self.kill()
                raise self._lost(f"did nothing for {self.settings.hang_s:g} s and was ended")

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        try:
            answer, blob = self._channel.receive()
        except ChannelClosed:
            raise self._gone() from None
        if answer.get("failed") == "diverged":
            raise FloatingPointError(answer["text"])
        if "failed" in answer:
            raise self._lost(f"failed: {answer['failed']}: {answer['text']}")
        return answer, blob

    def _gone(self) -> LearnerLost:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_S)
        code = self._process.returncode
        if code is None:
            self.kill()
            return self._lost("hung up")
        if code < 0:
            return self._lost(f"was ended by {signal.Signals(-code).name}")
        return self._lost(f"ended with exit code {code}")

    def _lost(self, why: str) -> LearnerLost:
        return LearnerLost(f"the learner process (pid {self.pid}) {why}")


def _environment(threads: int) -> dict[str, str]:
    """Of the learner process: the same modules, and so many threads."""
    path: Sequence[str] = [entry or os.getcwd() for entry in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": str(threads)}

# SPDX-License-Identifier: MIT
"""The control process's handle on a learner process: start it, send requests, notice its end.

The learner is a fresh interpreter (spawned, not forked), so it inherits none of the control
process's locks, devices or threads. Shared memory and events are descriptors without names, and
the learner exits when its channel closes: nothing is left over when either process is killed.
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
from walkhome.learning.remote.handles import SharedHandles
from walkhome.learning.remote.shared_memory import SharedMemory, make_descriptor
from walkhome.learning.remote.transition_ring import TransitionRing, TransitionSizes, ring_bytes
from walkhome.learning.remote.weight_snapshots import WeightSnapshots

POLL_S = 0.25
EXIT_S = 0.1
"""Time for a process that closed its channel to exit; a robot may be waiting meanwhile."""


class LearnerLost(RuntimeError):  # noqa: N818 - says what happened
    """The learner process died, hangs or failed; the message says which."""


@dataclass(frozen=True)
class ProcessSettings:
    """How a learner process is run.

    Attributes:
        command: Command line that starts it; `SharedHandles.arguments` are appended.
        setup: JSON-able; the first message it receives.
        sizes: Sizes of a transition.
        threads: Threads of its matrix products.
        rows: Messages that the ring holds.
        slots: Snapshots that the shared memory holds.
        publish_every: See `SharedHandles`.
        start_s: Longest time from start to ready, s.
        hang_s: Longest time without progress, s, before it counts as hung.
    """

    command: tuple[str, ...]
    setup: Mapping[str, Any]
    sizes: TransitionSizes
    threads: int
    rows: int = 8192
    slots: int = 2
    publish_every: int = 1
    start_s: float = 120.0
    hang_s: float = 30.0


class LearnerProcess:
    """One learner process, and the memory shared with it.

    Attributes:
        ring: Transitions and other messages to the learner.
        ring_memory: The memory of the ring; may be handed to a successor.
        ready: The learner's ready message; None until it has arrived.
    """

    def __init__(self, settings: ProcessSettings, ring_memory: SharedMemory | None = None) -> None:
        """Start the process, without waiting until it is ready.

        Args:
            settings: How to run it.
            ring_memory: Ring of a predecessor, whose messages this process reads again.

        Raises:
            OSError: The system lacks shared memory, descriptors or the command.
        """
        self.settings = settings
        size = ring_bytes(settings.sizes, settings.rows)
        self.ring_memory = ring_memory or SharedMemory(size_bytes=size)
        self.ring = TransitionRing(self.ring_memory.data, settings.sizes, settings.rows)
        self.ready: dict[str, Any] | None = None
        self._snapshots: WeightSnapshots | None = None
        self._snapshot_descriptor = make_descriptor()
        flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
        self._wake, self._published = os.eventfd(0, flags), os.eventfd(0, flags)
        mine, other = socket.socketpair()
        handles = SharedHandles(
            other.fileno(),
            self.ring_memory.descriptor,
            self._snapshot_descriptor,
            self._wake,
            self._published,
            settings.rows,
            settings.slots,
            settings.publish_every,
            os.getpid(),
        )
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [*settings.command, *handles.arguments()],
            pass_fds=handles.descriptors(),
            env=_environment(settings.threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the control process
        )
        other.close()
        self._channel = Channel(mine, settings.hang_s)
        self._poll = select.poll()
        for descriptor in (self._published, self._channel.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        with contextlib.suppress(ChannelClosed):  # `wait_ready` notices it
            self._channel.send(settings.setup)

    @property
    def pid(self) -> int:
        """Id of the learner process."""
        return self._process.pid

    @property
    def snapshots(self) -> WeightSnapshots:
        """Published weights; only once the process is ready."""
        assert self._snapshots is not None, "wait_ready first"
        return self._snapshots

    def wait_ready(self) -> dict[str, Any]:
        """Wait for the ready message and return it.

        Raises:
            LearnerLost: The process failed, died or is not ready after `start_s`.
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
        """True if the process is ready; does not wait.

        Raises:
            LearnerLost: The process failed or died.
        """
        if self.ready is None and self._channel.ready(0.0):
            ready, _ = self._receive()
            memory = SharedMemory(self._snapshot_descriptor)
            weights = int(ready["weights"])
            self._snapshots = WeightSnapshots(memory.data, weights, self.settings.slots)
            self.ready = ready
        return self.ready is not None

    def wake(self) -> None:
        """Wake the learner up, because there are new messages in the ring."""
        with contextlib.suppress(BlockingIOError):  # the counter is full: it will wake up anyway
            os.eventfd_write(self._wake, 1)

    def request(self, name: str, blob: bytes = b"", **more: object) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for the reply.

        Args:
            name: "state", "load", "forget", "finite", "save" or "sync".
            blob: Raw bytes sent with it.
            **more: JSON-able fields of the request.

        Returns:
            The reply's JSON object and bytes.

        Raises:
            LearnerLost: The process failed, died or hangs.
            FloatingPointError: The learner diverged.
        """
        try:
            self._channel.send({"request": name, **more}, blob)
        except ChannelClosed:
            raise self._gone() from None
        self._wait(lambda: self._channel.ready(0.0))
        return self._receive()

    def wait_for_room(self, rows: int) -> None:
        """Wait until `rows` messages fit into the ring.

        Raises:
            LearnerLost: The process failed, died or hangs.
        """
        if self.ring.room < rows:
            self.wake()
            self._wait(lambda: self.ring.room >= rows, POLL_S / 50.0)

    def wait_for_snapshot(self, number: int) -> None:
        """Wait until snapshot `number` is published.

        Raises:
            LearnerLost: The process failed, died or hangs.
        """
        if self.snapshots.latest < number:
            self.wake()
            self._wait(lambda: self.snapshots.latest >= number)

    def check(self) -> None:
        """Raise if the process has ended; does not wait.

        Raises:
            LearnerLost: The process failed or died.
            FloatingPointError: The learner diverged.
        """
        if self._channel.ready(0.0):
            self._receive()
            raise self._lost("sent a reply without a request")

    def close(self, wait_s: float = 5.0) -> None:
        """Close the channel, wait up to `wait_s` for the exit, then kill; safe to call twice."""
        self._channel.close()
        if wait_s > 0.0 and self._process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        self.kill()
        for descriptor in (self._wake, self._published, self._snapshot_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake = self._published = self._snapshot_descriptor = -1

    def hang_up(self) -> None:
        """Close the channel, so that the process exits by itself."""
        self._channel.close()

    def abandon(self) -> None:
        """Kill the process without waiting for its end; `close` waits."""
        self._channel.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _wait(self, condition: Callable[[], bool], poll_s: float = POLL_S) -> None:
        """Wait for a condition; counts only time in which this process itself was running."""
        progress, idle_s = self.ring.progress, 0.0
        while not condition():
            events = self._poll.poll(1000.0 * poll_s)
            for descriptor, _ in events:
                if descriptor == self._published:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(descriptor)
                elif not condition():
                    self.check()
            if self.ring.progress != progress:
                progress, idle_s = self.ring.progress, 0.0
            elif not events:
                idle_s += poll_s
            if idle_s >= self.settings.hang_s:
                self.kill()
                raise self._lost(f"did nothing for {self.settings.hang_s:g} s and was killed")

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        try:
            reply, blob = self._channel.receive()
        except ChannelClosed:
            raise self._gone() from None
        if reply.get("failed") == "diverged":
            raise FloatingPointError(reply["text"])
        if "failed" in reply:
            raise self._lost(f"failed: {reply['failed']}: {reply['text']}")
        return reply, blob

    def _gone(self) -> LearnerLost:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_S)
        code = self._process.returncode
        if code is None:
            self.kill()
            return self._lost("closed its channel")
        if code < 0:
            return self._lost(f"was ended by {signal.Signals(-code).name}")
        return self._lost(f"ended with exit code {code}")

    def _lost(self, why: str) -> LearnerLost:
        return LearnerLost(f"the learner process (pid {self.pid}) {why}")


def _environment(threads: int) -> dict[str, str]:
    """Environment of the learner process: this one's import path, and its number of threads."""
    path: Sequence[str] = [entry or os.getcwd() for entry in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": str(threads)}

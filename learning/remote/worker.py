# SPDX-License-Identifier: MIT
"""The learner process: reads transitions, learns, publishes weights, answers requests.

    ring --> add, update, end_episode of a `Learner` --> snapshots        requests <-> replies

Pipelined: handles the messages in their order and publishes after every `publish_every`-th update
message, so what it publishes is a function of the messages. Asynchronous (`publish_every` 0): adds
transitions at once, and does the gradient steps that it was asked for as fast as it can.

The process ignores the signals of a terminal, because the control process decides when to end; it
ends with the control process, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkhome.learning.learner import SHARED, Learner
from walkhome.learning.remote.channel import Channel, ChannelClosed
from walkhome.learning.remote.handles import SharedHandles
from walkhome.learning.remote.shared_memory import SharedMemory
from walkhome.learning.remote.transition_ring import (
    MessageKind,
    RingMessage,
    TransitionRing,
    TransitionSizes,
)
from walkhome.learning.remote.weight_snapshots import WeightSnapshots, snapshot_bytes

POLL_S = 1.0
PUBLISH_PERIOD_S = 0.02
"""Shortest time between two snapshots of an asynchronous learner: one per control period."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class WorkerStart:
    """What a learner process starts with.

    Attributes:
        learner: New, or restored from a checkpoint.
        transitions: Number of transitions already in it; the ring's copies of them are skipped.
        episodes_from: Number of the first message whose episode its multipliers do not contain.
        save: Writes a checkpoint of the learner, given the fields of a "save" request; returns the
            reply.
    """

    learner: Learner
    transitions: int = 0
    episodes_from: int = 0
    save: Callable[[Learner, Mapping[str, Any]], dict[str, Any]] | None = None


def main(arguments: Sequence[str], make: Callable[[dict[str, Any]], WorkerStart]) -> int:
    """Run a learner process until the control process ends.

    Args:
        arguments: `SharedHandles.arguments`.
        make: Makes the learner from the setup that the control process sends first.

    Returns:
        The exit code: 0, or 1 after an error that was reported to the control process.
    """
    handles = SharedHandles.parse(arguments)
    _end_with_parent(handles.parent)
    if handles.publish_every == 0:
        _lower_priority()
    channel = Channel(socket.socket(fileno=handles.socket))
    try:
        setup, _ = channel.receive()
        try:
            Worker(make(setup), channel, handles).work()
        except (ValueError, RuntimeError, FloatingPointError, OSError, KeyError) as error:
            if isinstance(error, ChannelClosed):
                raise
            kind = "diverged" if isinstance(error, FloatingPointError) else type(error).__name__
            channel.send({"failed": kind, "text": str(error) or kind})
            return 1
    except ChannelClosed:
        os._exit(0)  # the control process is gone: nothing is left to do, or to clean up
    return 0


class Worker:
    """Serves one learner in its process.

    Args:
        start: The learner, and what it has seen already.
        channel: Carries requests and replies; the constructor sends the ready message.
        handles: Everything else that is shared with the control process.
    """

    def __init__(self, start: WorkerStart, channel: Channel, handles: SharedHandles) -> None:
        learner = start.learner
        self._learner, self._channel, self._handles = learner, channel, handles
        self._asynchronous = handles.publish_every == 0
        replay = learner.replay
        sizes = TransitionSizes(
            replay.observation_size, replay.action_size, replay.n_tasks, replay.n_constraints
        )
        self._ring = TransitionRing(SharedMemory(handles.ring).data, sizes, handles.rows)
        self._networks, where = _networks(learner)
        weights = sum(array.size for array in self._networks)
        memory = SharedMemory(handles.snapshots, snapshot_bytes(weights, handles.slots))
        self._snapshots = WeightSnapshots(memory.data, weights, handles.slots)
        # After a restart the ring still holds messages that the predecessor had read.
        self._ring.start_reading(max(0, self._ring.written - handles.rows))
        self._update_messages = 0  # since the last request
        self._added, self._dropped = start.transitions, 0
        self._episodes_from, self._save = start.episodes_from, start.save
        self._requested_steps = learner.gradient_steps
        self._published_s = 0.0
        self._publish()
        range_ = learner.policy(learner.tasks[0]).log_std_range
        channel.send(
            {
                "ready": self._snapshots.latest,
                "weights": weights,
                "tasks": where,
                "log_std_range": list(range_),
                "slow_because": learner.slow_because,
            }
        )
        self._poll = select.poll()
        self._poll.register(handles.wake, select.POLLIN)
        self._poll.register(channel.fileno(), select.POLLIN)

    def work(self) -> None:
        """Serve messages and requests until the control process is gone.

        Raises:
            ChannelClosed: The control process is gone.
            FloatingPointError: The learner diverged (asynchronous; a pipelined learner's weights
                are checked by the control process when it takes them).
            RuntimeError: Messages were lost that a pipelined learner must not lose.
        """
        while True:
            self._read_messages()
            steps = self._requested_steps - self._learner.gradient_steps
            due = steps if self._asynchronous else 0
            if due > 0:
                self._learn_once(due)
            for descriptor, _ in self._poll.poll(0 if due > 0 else 1000.0 * POLL_S):
                if descriptor == self._handles.wake:
                    os.eventfd_read(descriptor)
                else:
                    self._reply()

    def _read_messages(self) -> None:
        """Handle all messages in the ring."""
        while (message := self._ring.read()) is not None:
            self._handle(message)
            self._ring.done_reading()
            self._ring.made_progress()
        if self._ring.lost and not self._asynchronous:
            raise RuntimeError(f"{self._ring.lost} messages to the learner were damaged")

    def _handle(self, message: RingMessage) -> None:
        learner = self._learner
        task = learner.tasks[message.task]
        if message.kind is MessageKind.ADD:
            if message.count <= self._added:
                return  # it is in the replay already
            self._dropped += message.count - self._added - 1
            self._added = message.count
            learner.add(message.transition(task))
        elif message.kind is MessageKind.END_EPISODE:
            if message.number >= self._episodes_from:
                learner.end_episode(task, message.costs)
        else:
            self._request_steps(message.count)

    def _request_steps(self, requested: int) -> None:
        """Note the total of gradient steps asked for; a pipelined learner does them now."""
        new, self._requested_steps = requested - self._requested_steps, requested
        if not self._asynchronous:
            for _ in range(new):  # one by one: each shows that this process is alive
                self._learner.update(1)
                self._ring.made_progress()
            self._update_messages += 1
            if self._update_messages % self._handles.publish_every == 0:
                self._publish()

    def _learn_once(self, due: int) -> None:
        if self._learner.update(1) == 0:  # there is no batch yet: nothing to learn from
            self._requested_steps = self._learner.gradient_steps
            return
        self._ring.made_progress()
        if due == 1 or time.monotonic() - self._published_s >= PUBLISH_PERIOD_S:
            self._publish()

    def _publish(self) -> None:
        if self._asynchronous and not all(
            np.isfinite(float(array.sum())) for array in self._networks
        ):
            raise FloatingPointError("the learner diverged: a weight is not finite")
        self._published_s = time.monotonic()
        metrics = self._learner.metrics()
        notes = {
            "gradient_steps": self._learner.gradient_steps,
            "added": self._added,
            "stored": len(self._learner.replay),
            "lost": self._dropped,
            "time_s": self._published_s,
            "tasks": {task: metrics[task] for task in self._learner.learned_tasks},
        }
        self._snapshots.publish(self._networks, notes)
        os.eventfd_write(self._handles.published, 1)

    # -- requests ----------------------------------------------------------------------------------

    def _reply(self) -> None:
        """Answer one request, after all messages that were written before it."""
        from safetensors.numpy import load, save

        request, blob = self._channel.receive()
        self._read_messages()
        reply: dict[str, Any] = {}
        out = b""
        learner = self._learner
        name = request["request"]
        if name == "state":
            state = learner.state_dict()
            reply["scalars"] = state["scalars"]
            own = tuple(f"{name}." for name in (*learner.learned_tasks, SHARED))
            out = save({k: _saveable(v) for k, v in state["tensors"].items() if k.startswith(own)})
        elif name == "load":
            try:
                learner.load_state_dict({"tensors": load(blob), "scalars": request["scalars"]})
            except ValueError as error:
                reply["refused"] = str(error)
            self._requested_steps = learner.gradient_steps
        elif name == "forget":
            learner.forget()
            self._added = 0
        elif name == "finite":
            reply["finite"] = learner.finite()
        elif name == "save" and self._save is not None:
            reply = self._save(learner, request)
        self._update_messages = 0
        self._publish()
        synchronised = {
            "number": self._snapshots.latest,
            "requested_steps": self._requested_steps,
        }
        self._channel.send({**reply, **synchronised}, out)
        self._ring.made_progress()


def _networks(learner: Learner) -> tuple[list[NDArray[np.float32]], dict[str, Any]]:
    """The live arrays of the actors, and for each task where its own lie among them."""
    arrays: list[NDArray[np.float32]] = []
    starts: dict[int, int] = {}
    where: dict[str, Any] = {}
    size = 0
    for task in learner.learned_tasks:
        policy = learner.policy(task)
        key = int(policy.layers[0][0].ctypes.data)
        if key not in starts:  # one network may serve all tasks
            starts[key] = size
            for pair in policy.layers:
                arrays += pair
                size += sum(array.size for array in pair)
        where[task] = {
            "start": starts[key],
            "shapes": [list(weight.shape) for weight, _ in policy.layers],
            "task_code": policy.task_code.tolist(),
        }
    return arrays, where


def _saveable(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).reshape(array.shape)


def _lower_priority() -> None:
    """Leave the processor to processes with a deadline."""
    os.nice(10)
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the control process ends; ignore the terminal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # The closed channel has the same effect, but not while this process hangs.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        os._exit(0)

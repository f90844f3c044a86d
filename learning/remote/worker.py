# SPDX-License-Identifier: MIT
"""The learner process: takes experience from the ring, learns, publishes weights, answers.

    ring --> add, update, end_episode of a `Learner` --> snapshots          questions <-> answers

Pipelined: does exactly what it is told, in that order, and publishes after every `publish_every`-th
update message, so what it publishes is a function of what it was told. Free: adds at once, and does
the gradient steps that it owes as fast as it can. It ignores the signals of a terminal (the control
process decides when to end), and ends with the control process, however that ends.
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
from walkhome.learning.remote.handles import Wiring
from walkhome.learning.remote.shared_memory import SharedMemory
from walkhome.learning.remote.transition_ring import Kind, Message, Ring, Sizes
from walkhome.learning.remote.weight_snapshots import Snapshots, snapshot_bytes

POLL_S = 1.0
FREE_PUBLISH_S = 0.02
"""A free learner publishes at most so often: once per control period is enough."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Start:
    """What a learner process begins with.

    Attributes:
        learner: fresh, or restored.
        transitions: that it has seen already; they are passed over in the ring.
        episodes_from: number of the first message whose episode its multipliers have not seen.
        save: writes a checkpoint of the learner, as a "save" question wishes; what to answer.
    """

    learner: Learner
    transitions: int = 0
    episodes_from: int = 0
    save: Callable[[Learner, Mapping[str, Any]], dict[str, Any]] | None = None


def main(arguments: Sequence[str], make: Callable[[dict[str, Any]], Start]) -> int:
    """The whole life of a learner process.

    Args:
        arguments: `Wiring.arguments`.
        make: makes what it begins with from the setup that the control process sends first.

    Returns:
        Its exit code.
    """
    wiring = Wiring.parse(arguments)
    _live_with_the_parent(wiring.parent)
    if wiring.publish_every == 0:
        _step_back()
    channel = Channel(socket.socket(fileno=wiring.socket))
    try:
        setup, _ = channel.receive()
        try:
            Worker(make(setup), channel, wiring).work()
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
    """Serves one learner.

    Args:
        start: what learns.
        channel: questions come in here.
        wiring: the rest of what is shared.
    """

    def __init__(self, start: Start, channel: Channel, wiring: Wiring) -> None:
        learner = start.learner
        self._learner, self._channel, self._wiring = learner, channel, wiring
        replay = learner.replay
        sizes = Sizes(
            replay.observation_size, replay.action_size, replay.n_tasks, replay.n_constraints
        )
        self._ring = Ring(SharedMemory(wiring.ring).data, sizes, wiring.rows)
        self._networks, where = _networks(learner)
        weights = sum(array.size for array in self._networks)
        memory = SharedMemory(wiring.snapshots, snapshot_bytes(weights, wiring.slots))
        self._snapshots = Snapshots(memory.data, weights, wiring.slots)
        # One that is started again finds in the ring what its predecessor had read, and more.
        self._ring.start_reading(max(0, self._ring.written - wiring.rows))
        self._messages = 0  # update messages since the last question
        self._added, self._dropped = start.transitions, 0
        self._episodes_from, self._save = start.episodes_from, start.save
        self._asked = learner.gradient_steps
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
        self._poll.register(wiring.told, select.POLLIN)
        self._poll.register(channel.fileno(), select.POLLIN)

    def work(self) -> None:
        """Until the control process is gone.

        Raises:
            ChannelClosed: it is.
            FloatingPointError: the learner diverged (a free one; a pipelined one is told when its
                weights are taken).
            RuntimeError: experience was lost that nothing may be lost of.
        """
        free = self._wiring.publish_every == 0
        while True:
            self._hear()
            owed = self._asked - self._learner.gradient_steps if free else 0
            if owed > 0:
                self._learn_freely(owed)
            for descriptor, _ in self._poll.poll(0 if owed > 0 else 1000.0 * POLL_S):
                if descriptor == self._wiring.told:
                    os.eventfd_read(descriptor)
                else:
                    self._answer()

    def _hear(self) -> None:
        """Deal with all messages that are there."""
        while (message := self._ring.read()) is not None:
            self._take(message)
            self._ring.done_reading()
            self._ring.made_progress()
        if self._ring.lost and self._wiring.publish_every:
            raise RuntimeError(f"{self._ring.lost} messages to the learner were damaged")

    def _take(self, message: Message) -> None:
        learner = self._learner
        task = learner.tasks[message.task]
        if message.kind is Kind.ADD:
            if message.count <= self._added:
                return  # it has seen this one
            self._dropped += message.count - self._added - 1
            self._added = message.count
            learner.add(message.transition(task))
        elif message.kind is Kind.END_EPISODE:
            if message.number >= self._episodes_from:
                learner.end_episode(task, message.costs)
        else:
            self._owe(message.count)

    def _owe(self, asked: int) -> None:
        """So many gradient steps were asked for so far: pipelined, do them now."""
        new, self._asked = asked - self._asked, asked
        if self._wiring.publish_every:
            for _ in range(new):  # one by one: each is a sign of life
                self._learner.update(1)
                self._ring.made_progress()
            self._messages += 1
            if self._messages % self._wiring.publish_every == 0:
                self._publish()

    def _learn_freely(self, owed: int) -> None:
        if self._learner.update(1) == 0:  # no batch is there yet: nothing to learn from
            self._asked = self._learner.gradient_steps
            return
        self._ring.made_progress()
        if owed == 1 or time.monotonic() - self._published_s >= FREE_PUBLISH_S:
            self._publish()

    def _publish(self) -> None:
        if self._wiring.publish_every == 0 and not all(
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
            "tasks": {task: metrics[task] for task in self._learner.mine},
        }
        self._snapshots.publish(self._networks, notes)
        os.eventfd_write(self._wiring.done, 1)

    # -- questions ---------------------------------------------------------------------------------

    def _answer(self) -> None:
        """Answer one question, as of everything that was told before it."""
        from safetensors.numpy import load, save

        question, blob = self._channel.receive()
        self._hear()
        answer: dict[str, Any] = {}
        out = b""
        learner = self._learner
        name = question["ask"]
        if name == "state":
            state = learner.state_dict()
            answer["scalars"] = state["scalars"]
            mine = tuple(f"{name}." for name in (*learner.mine, SHARED))
            out = save({k: _saveable(v) for k, v in state["tensors"].items() if k.startswith(mine)})
        elif name == "load":
            try:
                learner.load_state_dict({"tensors": load(blob), "scalars": question["scalars"]})
            except ValueError as error:
                answer["refused"] = str(error)
            self._asked = learner.gradient_steps
        elif name == "forget":
            learner.forget()
            self._added = 0
        elif name == "finite":
            answer["finite"] = learner.finite()
        elif name == "save" and self._save is not None:
            answer = self._save(learner, question)
        self._messages = 0
        self._publish()
        answer = {**answer, "number": self._snapshots.latest, "asked": self._asked}
        self._channel.send(answer, out)
        self._ring.made_progress()


def _networks(learner: Learner) -> tuple[list[NDArray[np.float32]], dict[str, Any]]:
    """The live arrays of its actors, and per task which of them are its own."""
    arrays: list[NDArray[np.float32]] = []
    starts: dict[int, int] = {}
    where: dict[str, Any] = {}
    size = 0
    for task in learner.mine:
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
            "told": policy.told.tolist(),
        }
    return arrays, where


def _saveable(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).reshape(array.shape)


def _step_back() -> None:
    """Leave the processor to whoever is on a deadline."""
    os.nice(10)
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _live_with_the_parent(parent: int) -> None:
    """End when the control process does; leave the terminal's signals to it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # Also when it is killed while this process hangs; the channel's end says the same.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before that call
        os._exit(0)

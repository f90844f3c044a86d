# SPDX-License-Identifier: MIT
"""The transition ring: messages arrive whole and in order, and lost ones are counted."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkhome.learning.remote.shared_memory import SharedMemory
from walkhome.learning.remote.transition_ring import (
    MessageKind,
    TransitionRing,
    TransitionSizes,
    ring_bytes,
)
from walkhome.learning.transition import Transition

SIZES = TransitionSizes(observation=3, action=2, tasks=2, constraints=1)
ROOT = str(Path(__file__).parents[3])


def both_sides(rows):
    memory = SharedMemory(size_bytes=ring_bytes(SIZES, rows))
    return (
        memory,
        TransitionRing(memory.data, SIZES, rows),
        TransitionRing(memory.data, SIZES, rows),
    )


def add(ring, i, done=False):
    x = np.arange(3) + i
    transition = Transition(x, [i, -i], [i, 2 * i], [i / 3], x + 1, done, "any")
    ring.write_transition(transition, i % 2, i)


def test_what_was_written_is_read():
    _, writer, reader = both_sides(4)
    assert reader.read() is None
    add(writer, 5, done=True)
    writer.write(MessageKind.UPDATE, count=7)
    writer.write(MessageKind.END_EPISODE, task=1, costs=[1 / 7])
    message = reader.read()
    assert (message.kind, message.task, message.count, message.done) == (
        MessageKind.ADD,
        1,
        5,
        True,
    )
    np.testing.assert_array_equal(message.observation, [5, 6, 7])
    np.testing.assert_array_equal(message.next_observation, [6, 7, 8])
    np.testing.assert_array_equal(message.action, [5, -5])
    np.testing.assert_array_equal(message.rewards, [5, 10])
    assert message.costs[0] == 5 / 3  # float64, to the bit
    message = reader.read()
    assert (message.kind, message.count) == (MessageKind.UPDATE, 7)
    message = reader.read()
    assert (message.kind, message.task, message.costs[0]) == (MessageKind.END_EPISODE, 1, 1 / 7)
    assert reader.read() is None
    assert reader.lost == 0


@settings(max_examples=60)
@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 9))
def test_order_and_losses_for_any_interleaving(bursts, rows):
    """After each burst of writes everything is read: the newest `rows` messages arrive."""
    _, writer, reader = both_sides(rows)
    number, lost = 0, 0
    for burst in bursts:
        for _ in range(burst):
            add(writer, number)
            number += 1
        arrived = []
        while (message := reader.read()) is not None:
            arrived.append(message.count)
        lost += max(0, burst - rows)
        assert arrived == list(range(number - min(burst, rows), number))
        assert reader.lost == lost
        reader.done_reading()
        assert writer.room == rows


def test_room_shrinks_until_the_reader_is_done():
    _, writer, reader = both_sides(4)
    for i in range(3):
        add(writer, i)
    assert writer.room == 1
    reader.read()
    assert writer.room == 1  # read, but not dealt with
    reader.done_reading()
    assert writer.room == 2


def test_a_damaged_row_is_counted_and_passed_over():
    memory, writer, reader = both_sides(4)
    for i in range(3):
        add(writer, i)
    row = (len(memory.data) - 64) // 4
    memory.data[64 + row + row // 2] ^= 1
    assert [reader.read().count, reader.read().count] == [0, 2]
    assert reader.lost == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_nothing_that_is_not_finite_gets_in(bad):
    _, writer, reader = both_sides(4)
    x = np.zeros(3)
    with pytest.raises(ValueError, match="not finite"), np.errstate(over="ignore"):
        writer.write_transition(Transition(x, [0, bad], [0, 0], [0.0], x, False, "any"), 0, 1)
    with pytest.raises(ValueError, match="not finite"):
        writer.write_transition(Transition(x, [0, 0], [0, 0], [np.nan], x, False, "any"), 0, 1)
    with pytest.raises(ValueError, match="shape"):
        writer.write_transition(Transition(x[:2], [0, 0], [0, 0], [0.0], x, False, "any"), 0, 1)
    assert writer.written == 0
    add(writer, 1)
    assert reader.read().count == 1


WRITER = """
import sys
from test_transition_ring import SIZES, add
from walkhome.learning.remote.transition_ring import TransitionRing
from walkhome.learning.remote.shared_memory import SharedMemory
ring = TransitionRing(SharedMemory(int(sys.argv[1])).data, SIZES, 16)
for i in range(20_000):
    add(ring, i)
"""


def test_a_writer_that_never_waits_costs_messages_but_no_lies():
    memory, _, reader = both_sides(16)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(memory.descriptor)],
        pass_fds=(memory.descriptor,),
        env=environment,
    )
    seen, last = 0, -1
    while True:
        ended = writer.poll() is not None  # asked first: then everything is written
        message = reader.read()
        if message is None:
            if ended:
                break
            continue
        i = message.count
        assert i > last
        np.testing.assert_array_equal(message.observation, np.arange(3, dtype=np.float32) + i)
        assert message.costs[0] == i / 3
        last, seen = i, seen + 1
    assert writer.returncode == 0
    assert last == 19_999
    assert seen + reader.lost == 20_000
    assert seen >= 16

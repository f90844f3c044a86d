# SPDX-License-Identifier: MIT
"""Weight snapshots: torn ones and weights that are not finite are never used."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from walkhome.learning.remote.shared_memory import SharedMemory
from walkhome.learning.remote.weight_snapshots import NOTES_BYTES, WeightSnapshots, snapshot_bytes

ROOT = str(Path(__file__).parents[3])
N = 20_000


def both_sides(weights=6, slots=2):
    memory = SharedMemory(size_bytes=snapshot_bytes(weights, slots))
    return memory, *(WeightSnapshots(memory.data, weights, slots) for _ in "12")


def test_what_was_published_is_taken():
    _, publisher, taker = both_sides()
    weights = np.zeros(6, np.float32)
    assert taker.latest == 0
    assert taker.take(0, weights) is None
    parts = [np.float32([[1, 2], [3, 4]]), np.float32([5, 6])]
    assert publisher.publish(parts, {"alpha": 0.1}) == 1
    assert taker.take(1, weights) == {"alpha": 0.1}
    np.testing.assert_array_equal(weights, [1, 2, 3, 4, 5, 6])


def test_the_last_ones_are_there_and_older_ones_are_not():
    _, publisher, taker = both_sides(slots=3)
    for i in range(1, 8):
        publisher.publish([np.full(6, i, np.float32)], {"i": i})
    weights = np.full(6, -1, np.float32)
    assert taker.take(4, weights) is None
    assert weights[0] == -1
    for i in (5, 6, 7):
        assert taker.take(i, weights) == {"i": i}
        assert (weights == i).all()


@pytest.mark.parametrize("at", [24, 24 + NOTES_BYTES, 24 + NOTES_BYTES + 23])
def test_a_flipped_bit_anywhere_is_seen(at):
    memory, publisher, taker = both_sides(slots=1)
    publisher.publish([np.ones(6, np.float32)], {"i": 1})
    memory.data[64 + at] ^= 16
    weights = np.zeros(6, np.float32)
    assert taker.take(1, weights) is None
    assert taker.torn == 1
    assert not weights.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_never_used(bad):
    _, publisher, taker = both_sides()
    publisher.publish([np.float32([1, 2, bad, 4, 5, 6])], {})
    weights = np.zeros(6, np.float32)
    with pytest.raises(FloatingPointError, match="diverged"):
        taker.take(1, weights)
    assert not weights.any()


def test_notes_that_do_not_fit_are_refused():
    _, publisher, taker = both_sides()
    with pytest.raises(ValueError, match="do not fit"):
        publisher.publish([np.ones(6, np.float32)], {"long": "x" * NOTES_BYTES})
    assert taker.latest == 0


PUBLISHER = """
import sys
import numpy as np
from walkhome.learning.remote.shared_memory import SharedMemory
from walkhome.learning.remote.weight_snapshots import WeightSnapshots
n = int(sys.argv[2])
snapshots = WeightSnapshots(SharedMemory(int(sys.argv[1])).data, n, 2)
i = 0
while True:
    i += 1
    snapshots.publish([np.full(n, i, np.float32)], {"i": i})
"""


def test_a_publisher_in_a_hurry_and_killed_on_the_way_never_gives_a_mixture():
    memory, _, taker = both_sides(N)
    publisher = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, str(memory.descriptor), str(N)],
        pass_fds=(memory.descriptor,),
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    weights, taken, last = np.zeros(N, np.float32), 0, 0
    try:
        while taken < 300:
            notes = taker.take(taker.latest, weights)
            if notes is not None:
                taken += 1
                assert notes["i"] >= last
                last = notes["i"]
            assert (weights == last).all()
            assert publisher.poll() is None
    finally:
        publisher.send_signal(signal.SIGKILL)
        publisher.wait()
    newest = taker.latest
    if taker.take(newest, weights) is None:  # killed while it wrote over that one
        assert taker.take(newest - 1, weights) is not None or newest < 2
    assert (weights == weights[0]).all()

# SPDX-License-Identifier: MIT
"""The channel: frames, time-outs, the other side's end, and nothing pickled."""

import pickle
import socket
import threading
import time

import pytest

from walkhome.learning.remote.channel import Channel, ChannelClosed


@pytest.fixture
def ends():
    one, two = socket.socketpair()
    pair = Channel(one, timeout_s=0.2), Channel(two)
    yield pair
    for end in pair:
        end.close()


def test_messages_arrive_whole_and_in_order(ends):
    one, two = ends
    blob = bytes(range(256)) * 20_000  # more than a socket buffers
    sender = threading.Thread(target=lambda: (one.send({"a": 1}, blob), one.send({"b": [2.5]})))
    sender.start()
    assert two.receive() == ({"a": 1}, blob)
    assert two.receive() == ({"b": [2.5]}, b"")
    sender.join()
    assert not two.ready(0.0)


def test_the_other_sides_end_is_noticed_by_both_directions(ends):
    one, two = ends
    two.close()
    two.close()
    assert one.ready(0.0)
    with pytest.raises(ChannelClosed):
        one.receive()
    with pytest.raises(ChannelClosed):
        one.send({})


def test_a_message_that_stops_in_its_middle_times_out():
    near, far = socket.socketpair()
    channel = Channel(near, timeout_s=0.2)
    far.sendall(b"\0\0\0\x10{")  # announces 16 bytes, sends one
    begin_s = time.monotonic()
    with pytest.raises(ChannelClosed):
        channel.receive()
    assert 0.1 < time.monotonic() - begin_s < 5.0
    far.close()
    channel.close()


def test_a_receiver_that_reads_nothing_times_out(ends):
    with pytest.raises(ChannelClosed):
        ends[0].send({}, bytes(50_000_000))


def test_nothing_is_pickled(ends, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickled")

    monkeypatch.setattr(pickle, "dumps", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr("multiprocessing.connection._ForkingPickler.dumps", refuse)
    monkeypatch.setattr("multiprocessing.connection._ForkingPickler.loads", refuse)
    one, two = ends
    one.send({"name": "state"}, b"blob")
    assert two.receive() == ({"name": "state"}, b"blob")

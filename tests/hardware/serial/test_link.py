# SPDX-License-Identifier: MIT
"""The link on pseudo-terminals: it never blocks, and every failure is `LinkLost`."""

import os
import pty
import threading
import time
import tty

import pytest

from walkhome.hardware.robot import LinkLost
from walkhome.hardware.serial.link import PortRefused, SerialLink, stable_name
from walkhome.hardware.serial.protocol import Decoder, MessageType, encode, fields_of


class Far:
    """The other end of a pseudo-terminal."""

    def __init__(self):
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.name = os.ttyname(slave)
        self._slave = slave
        os.set_blocking(self.master, False)

    def read(self):
        try:
            return os.read(self.master, 1 << 20)
        except BlockingIOError:
            return b""

    def hang_up(self):
        for end in ("master", "_slave"):
            descriptor = getattr(self, end)
            setattr(self, end, None)
            if descriptor is not None:
                os.close(descriptor)


@pytest.fixture
def far():
    end = Far()
    yield end
    end.hang_up()


@pytest.fixture
def link(far):
    with SerialLink(far.name) as opened:
        yield opened


def estop(nonce):
    return encode(MessageType.ESTOP, {"nonce": nonce}, nonce, 0)


def nonces(frames):
    return [fields_of(frame)["nonce"] for frame in frames]


def test_frames_arrive_whole_in_whatever_pieces(far, link):
    data = estop(1) + estop(2) + estop(3)
    got = []
    for byte in data:
        os.write(far.master, bytes([byte]))
        if link.wait(1.0):
            got += link.read()
    assert nonces(got) == [1, 2, 3]
    assert not link.wait(0.0)
    assert list(link.read()) == []


def test_every_byte_value_passes(far, link):
    """In raw mode no byte is a signal, a translated newline, or flow control."""
    os.write(far.master, bytes(range(256)) + b"\0" + estop(7))
    link.wait(1.0)
    time.sleep(0.05)
    assert nonces(link.read()) == [7]
    link.send(bytes(range(1, 256)) + b"\0")
    time.sleep(0.05)
    assert far.read() == bytes(range(1, 256)) + b"\0"


def test_sent_frames_arrive_in_order(far, link):
    for nonce in range(20):
        link.send(estop(nonce))
    assert link.flush()
    time.sleep(0.05)
    assert nonces(Decoder().feed(far.read())) == list(range(20))
    assert link.dropped == 0


def test_a_peer_that_does_not_read_never_blocks_and_gets_only_the_newest(far, link):
    begin_s = time.monotonic()
    for nonce in range(3000):
        link.send(estop(nonce))
    assert time.monotonic() - begin_s < 2.0  # 3000 calls, none of which may wait
    assert not link.flush()
    assert link.dropped > 0
    received = b""
    while not link.flush():
        received += far.read()
    deadline_s = time.monotonic() + 2.0
    while not received.endswith(estop(2999)) and time.monotonic() < deadline_s:
        received += far.read()
    decoder = Decoder()
    got = nonces(decoder.feed(received))
    assert decoder.damaged == 0  # no frame was torn
    assert got == sorted(got)
    assert got[-1] == 2999
    assert len(got) == 3000 - link.dropped


def test_an_urgent_frame_goes_first(far, link):
    nonce = 0
    while link.flush() or not link._sending:
        link.send(estop(nonce))
        nonce += 1
        if link._sending:
            break
    link.send(estop(9999), urgent=True)
    decoder, got, deadline_s = Decoder(), [], time.monotonic() + 5.0
    while 9999 not in got and time.monotonic() < deadline_s:
        got += nonces(decoder.feed(far.read()))
        link.flush()
    assert got[-1] == 9999
    assert decoder.damaged <= 1  # the one that was cut off


@pytest.mark.parametrize("act", ["read", "send", "wait and read"])
def test_an_unplugged_cable_is_link_lost(far, act):
    link = SerialLink(far.name)
    far.hang_up()
    calls = {
        "read": lambda: list(link.read()),
        "send": lambda: [link.send(estop(1)) for _ in range(10)],
        "wait and read": lambda: wait_and_read(link),
    }
    with pytest.raises(LinkLost, match="check cable and power"):
        calls[act]()
    link.close()
    link.close()


def wait_and_read(link):
    while True:
        link.wait(5.0)
        list(link.read())


def test_an_unplugged_cable_ends_a_wait_at_once(far):
    link = SerialLink(far.name)
    cut = threading.Timer(0.1, far.hang_up)
    cut.start()
    begin_s = time.monotonic()
    with pytest.raises(LinkLost):
        wait_and_read(link)
    assert time.monotonic() - begin_s < 2.0
    cut.join()
    link.close()


def test_a_port_is_opened_once(far, link):
    with pytest.raises(PortRefused, match="in use by another process"):
        SerialLink(far.name)
    link.close()
    SerialLink(far.name).close()


def test_what_is_no_port_is_refused(tmp_path):
    with pytest.raises(PortRefused, match="no such port"):
        SerialLink("/dev/ttyNOTHING")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PortRefused, match="not a serial port"):
        SerialLink(str(file))


def test_the_name_that_survives_replugging(tmp_path):
    device = tmp_path / "ttyUSB0"
    device.write_text("")
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-FTDI_Minitaur-if00").symlink_to(device)
    assert stable_name(str(device), by_id) == str(by_id / "usb-FTDI_Minitaur-if00")
    assert stable_name("/dev/null", by_id) == "/dev/null"
    assert stable_name("/dev/null", tmp_path / "none") == "/dev/null"

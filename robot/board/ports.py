# SPDX-License-Identifier: MIT
"""The serial ports of this machine: lasting names, access rights, latency of FTDI chips."""

from __future__ import annotations

import grp
import os
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from walkhome.hardware.serial.link import stable_name

SYS_SERIAL = Path("/sys/bus/usb-serial/devices")
GOOD_LATENCY_MS = 1


@dataclass(frozen=True)
class Port:
    """A serial port of this machine.

    Attributes:
        device: its present device file.
        by_id: a name that survives replugging; the device file if there is none.
        what: the maker's description.
        may_open: whether this user may read and write it.
        group: the group whose members may.
        latency_ms: how long an FTDI chip waits for more bytes; None for other chips.
        vendor_product: USB ids, such as 0403:6015; empty for other ports.
    """

    device: str
    by_id: str
    what: str
    may_open: bool
    group: str
    latency_ms: int | None
    vendor_product: str

    def advice(self) -> list[str]:
        """Return what to change before the port can be used well; empty if nothing."""
        out = []
        if not self.may_open:
            out.append(
                f"no rights: sudo usermod -aG {self.group} $USER, then log in again; or a udev "
                f"rule: {self.udev_rule()}"
            )
        if self.latency_ms is not None and self.latency_ms > GOOD_LATENCY_MS:
            out.append(
                f"its chip waits {self.latency_ms} ms for more bytes; walkhome sets 1 ms where it "
                f"may, a udev rule does always: {self.latency_rule()}"
            )
        return out

    def udev_rule(self) -> str:
        """Return a udev rule that gives the user at the machine's console access to the port."""
        vendor, _, product = self.vendor_product.partition(":")
        usb = f'ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}", '
        return f'SUBSYSTEM=="tty", {usb if vendor else ""}MODE="0660", TAG+="uaccess"'

    def latency_rule(self) -> str:
        """Return a udev rule that sets an FTDI chip's latency timer when it is plugged in."""
        return 'ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'


def ports() -> list[Port]:
    """Return all serial ports of this machine, sorted by device."""
    return [
        describe(found.device, found.description or "", found.vid, found.pid)
        for found in sorted(list_ports.comports())
    ]


def describe(
    device: str, what: str = "", vendor: int | None = None, product: int | None = None
) -> Port:
    """Describe one serial port.

    Args:
        device: its device file, or a link to it.
        what: the maker's description.
        vendor: USB vendor id; None if it is not a USB port.
        product: USB product id.

    Raises:
        OSError: there is no such device.
    """
    real = os.path.realpath(device)
    return Port(
        device=device,
        by_id=stable_name(device),
        what=what,
        may_open=os.access(real, os.R_OK | os.W_OK),
        group=_group(real),
        latency_ms=_latency_ms(Path(real).name),
        vendor_product="" if vendor is None else f"{vendor:04x}:{product or 0:04x}",
    )


def _group(real: str) -> str:
    number = os.stat(real).st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _latency_ms(name: str, folder: Path = SYS_SERIAL) -> int | None:
    try:
        return int((folder / name / "latency_timer").read_text())
    except (OSError, ValueError):
        return None

# SPDX-License-Identifier: MIT
"""The emulated board: the firmware's code, the twin as its physics, a pseudo-terminal as its port.

Bytes come in from the pseudo-terminal, the C core (`sim.emulator.core`) processes them, the twin
moves, and bytes go out no faster than the baud rate allows. One `step` is one physics step; `run`
paces the steps. Everything that tests of time bounds need goes to an event log with monotonic
times.
"""

from __future__ import annotations

import json
import math
import os
import pty
import time
import tty
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

import numpy as np

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.serial.protocol import MessageType, Mode, encode_payload, payload_size
from walkhome.sim.emulator.core import BoardCore, BoardSensors
from walkhome.sim.emulator.faults import InjectedFault, active_kinds
from walkhome.sim.emulator.jig import Jig
from walkhome.sim.emulator.pose import PosePublisher
from walkhome.sim.emulator.rate import FixedRateTrigger
from walkhome.sim.history import Sample
from walkhome.sim.motor import current_of
from walkhome.sim.twin import PyBulletRobot

READ_BYTES = 4096
DELAY_S = 0.05
GARBLED_SHARE = 0.02
DEAD_MOTOR = 3
CARRIED_M = 2.0
EMPTY_V = 9.0
BITS_PER_BYTE = 10  # 8N1
MAX_BEHIND_S = 0.1


@dataclass(frozen=True)
class BoardSettings:
    """Identity and interface of the emulated board.

    Attributes:
        baud: bits per second on the wire.
        state_rate_hz: STATE frames per second.
        link: path of a symbolic link to the port, which survives unplugging; None for none.
        robot_id: name that it reports, at most 15 characters.
        zero_table: id of the zero table that it reports.
        battery_v: battery voltage that it reports.
        encoder_offset_rad: (8,) readings of its encoders at angle 0.
    """

    baud: int = 921_600
    state_rate_hz: float = 100.0
    link: str | None = None
    robot_id: str = "emulated"
    zero_table: int = 1
    battery_v: float = 16.0
    encoder_offset_rad: tuple[float, ...] = (0.0,) * N_MOTORS

    @property
    def frame_s(self) -> float:
        """Transmission time of a STATE frame, s."""
        empty = encode_payload(MessageType.STATE, bytes(payload_size(MessageType.STATE)))
        return len(empty) * BITS_PER_BYTE / self.baud


class EmulatedBoard:
    """A board that a host can open as a serial port.

    Args:
        twin: its physics; the board drives its motors and closes it.
        settings: identity and interface.
        faults: faults to inject, with their times.
        log: event log, one JSON object per line; None for none.
        seed: random seed of garbled bytes and of the challenges.
        clock: monotonic seconds, for the log and the poses.
        poses: publisher of its pose; None for none.
        jig: calibration jig that holds it; None on the floor.

    Attributes:
        settings: as given.
        port: device file to open; changes when the cable is plugged in again.

    Raises:
        RobotError: there is no C compiler, or the firmware does not compile.
    """

    def __init__(
        self,
        twin: PyBulletRobot,
        settings: BoardSettings | None = None,
        faults: Sequence[InjectedFault] = (),
        log: TextIO | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        poses: PosePublisher | None = None,
        jig: Jig | None = None,
    ) -> None:
        self.settings = settings or BoardSettings()
        self._poses, self._jig, self._boot = poses, jig, round(clock() * 1e3)
        self.port = ""
        self._twin, self._faults, self._log, self._clock = twin, tuple(faults), log, clock
        self._rng = np.random.default_rng(seed)
        self._core = self._start()
        self._sensors = BoardSensors(imu_ok=1)
        self._now: frozenset[str] = frozenset()
        self._out: deque[tuple[float, bytes]] = deque()  # earliest time to send, bytes
        self._budget_bytes = 0.0
        self._state = FixedRateTrigger(self.settings.state_rate_hz)
        self._zero_s: float | None = None  # wall-clock start; None in simulated time
        self._moving = False
        self._mode = Mode.OFF
        self._pulled_until_s = 0.0
        self._master: int | None = None
        self._slave: int | None = None
        self._plug_in()
        twin.drive_by(self._duty)

    def step(self) -> None:
        """Advance by one physics step: receive, move, transmit.

        Raises:
            SimulationDiverged: the physics diverged.
        """
        time_s = self._twin.time_s
        self._look_for_faults(time_s)
        if "freeze" not in self._now:
            self._hear()
        if self._jig is not None:
            self._jig.hold()
        self._twin.advance(1.0 / self._twin.settings.physics_rate_hz)
        if "freeze" in self._now:
            return
        if self._state.due(time_s):
            self._measure()
            self._core.report(self._sensors, self._time_us())
        self._speak(time_s)

    def tell_pose(self) -> None:
        """Publish the pose if one is due."""
        if self._poses is None:
            return
        now_s = self._clock()
        if self._poses.due(self._twin.time_s) and "blind" not in self._now:
            pose = self._twin.latest()
            if "carried" in self._now:
                pose = replace(pose, x_m=pose.x_m + CARRIED_M)
            self._poses.take(pose, now_s)
        self._poses.send(now_s)

    def pull_cable(self, seconds: float) -> None:
        """Unplug the cable now and plug it in again after `seconds`."""
        self._pulled_until_s = self._twin.time_s + seconds

    def run(self, stopped: Callable[[], bool], real_time_factor: float = 1.0) -> None:
        """Step at the pace of the wall clock until `stopped` returns True.

        Late steps are caught up, up to a tenth of a second; beyond that the host sees a slower
        robot. At a factor of 1 the firmware uses the wall clock, so that its time-outs are right
        however long the physics takes.

        Raises:
            SimulationDiverged: the physics diverged.
        """
        if real_time_factor == 1.0:
            self._zero_s = self._clock() - self._twin.time_s
        step_s = 1.0 / (self._twin.settings.physics_rate_hz * real_time_factor)
        due_s = self._clock()
        while not stopped():
            self.step()
            self.tell_pose()
            due_s = max(due_s + step_s, self._clock() - MAX_BEHIND_S)
            wait_s = due_s - self._clock()
            if wait_s > 0.0:
                time.sleep(wait_s)

    def close(self) -> None:
        """Unplug the cable and end the simulation."""
        self._unplug()
        if self._poses is not None:
            self._poses.close()
        self._twin.close()

    def _start(self) -> BoardCore:
        """Start the firmware."""
        self._boot += 1
        return BoardCore(
            random=int(self._rng.integers(1, 2**32)),
            robot_id=self.settings.robot_id.encode(),
            zero_table=self.settings.zero_table,
            boot=self._boot & 0xFFFFFFFF,
        )

    # -- the motors --------------------------------------------------------------------------------

    def _duty(self, sample: Sample) -> tuple[list[float], float]:
        if "freeze" in self._now:  # the processor's watchdog has switched the motors off
            self._note_torque(False)
            return [0.0] * len(sample.angle_rad), 0.0
        s = self._sensors
        s.angle_rad[:] = self._shown(sample.angle_rad)
        s.velocity_rad_s[:] = sample.velocity_rad_s
        s.torque_nm[:] = sample.torque_nm
        s.battery_v = EMPTY_V if "brown-out" in self._now else self.settings.battery_v
        s.imu_ok = "bad-imu" not in self._now
        drive = self._core.tick(s, self._time_us())
        self._note_mode()
        duty = drive.duty.tolist()
        if "dead-motor" in self._now:
            duty[DEAD_MOTOR] = 0.0
        self._note_torque(any(duty))
        return duty, drive.torque_cap_nm

    def _note_torque(self, moving: bool) -> None:
        if moving != self._moving:
            self._moving = moving
            self._event("torque" if moving else "limp")

    def _measure(self) -> None:
        """Fill in the readings for a STATE frame: the twin's sensors, with noise and latency."""
        state, s = self._twin.read(), self._sensors
        s.angle_rad[:] = self._shown(state.motor_angle_rad.tolist())
        s.current_a[:] = [
            math.copysign(current_of(abs(nm)), nm) for nm in self._twin.shaft_torque_nm.tolist()
        ]
        s.velocity_rad_s[:] = state.motor_velocity_rad_s.tolist()
        s.torque_nm[:] = state.motor_torque_nm.tolist()
        s.temperature_c[:] = state.motor_temperature_c.tolist()
        s.attitude_xyzw[:] = state.attitude_xyzw.tolist()
        s.angular_velocity_rad_s[:] = state.angular_velocity_rad_s.tolist()
        s.acceleration_m_s2[:] = state.acceleration_m_s2.tolist()

    def _shown(self, angle_rad: Sequence[float]) -> list[float]:
        offsets = self.settings.encoder_offset_rad
        return [angle + offset for angle, offset in zip(angle_rad, offsets, strict=True)]

    # -- the wire ----------------------------------------------------------------------------------

    def _hear(self) -> None:
        if self._master is None:
            return
        try:
            data = os.read(self._master, READ_BYTES)
        except (BlockingIOError, OSError):
            return  # nothing to read, or the port is not open
        self._core.receive(data, self._time_us())

    def _speak(self, time_s: float) -> None:
        data = self._core.transmit()
        if data and "mute" not in self._now:
            if "garble" in self._now:
                data = self._garbled(data)
            late_s = DELAY_S if "delay" in self._now else 0.0
            self._out.append((time_s + late_s, data))
        step_s = 1.0 / self._twin.settings.physics_rate_hz
        rate_bytes_s = self.settings.baud / BITS_PER_BYTE
        # An idle wire does not save up capacity, except for less than a byte.
        step_bytes = rate_bytes_s * step_s
        self._budget_bytes = min(self._budget_bytes + step_bytes, step_bytes + 1.0)
        while self._out and self._out[0][0] <= time_s and self._budget_bytes >= 1.0:
            due_s, waiting = self._out.popleft()
            part = waiting[: int(self._budget_bytes)]
            self._budget_bytes -= len(part)
            self._write(part)
            if len(part) < len(waiting):
                self._out.appendleft((due_s, waiting[len(part) :]))

    def _write(self, data: bytes) -> None:
        if self._master is None:
            return
        try:
            os.write(self._master, data)
        except (BlockingIOError, OSError):
            return  # the host does not read; a wire does not wait for it

    def _garbled(self, data: bytes) -> bytes:
        values = np.frombuffer(data, np.uint8).copy()
        hit = self._rng.random(len(values)) < GARBLED_SHARE
        values[hit] = self._rng.integers(0, 256, int(hit.sum()))
        return bytes(values)

    def _note_mode(self) -> None:
        mode = Mode(self._core.mode)
        if mode is not self._mode:
            self._mode = mode
            self._event("mode", mode=mode.name, faults=self._core.faults)

    # -- injected faults ---------------------------------------------------------------------------

    def _look_for_faults(self, time_s: float) -> None:
        now = active_kinds(self._faults, time_s)
        if time_s < self._pulled_until_s:
            now |= {"unplug"}
        for kind in sorted(now ^ self._now):
            self._event("fault", what=kind, active=kind in now)
        if "unplug" in now and "unplug" not in self._now:
            self._unplug()
        if "unplug" in self._now and "unplug" not in now:
            self._plug_in()
        if "reboot" in now and "reboot" not in self._now:
            self._core = self._start()
        self._now = now

    def _plug_in(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        if self.settings.link is not None:
            draft = f"{self.settings.link}.{os.getpid()}"
            os.symlink(self.port, draft)
            os.replace(draft, self.settings.link)
        self._event("plugged", port=self.port)

    def _unplug(self) -> None:
        for descriptor in (self._master, self._slave):
            if descriptor is not None:
                os.close(descriptor)
        self._master = self._slave = None
        self._out.clear()
        self._event("unplugged")

    def _time_us(self) -> int:
        now_s = self._twin.time_s if self._zero_s is None else self._clock() - self._zero_s
        return round(now_s * 1e6)

    def _event(self, kind: str, **fields: object) -> None:
        if self._log is not None:
            line = {"event": kind, "monotonic_s": self._clock(), "board_s": self._twin.time_s}
            self._log.write(json.dumps({**line, **fields}) + "\n")
            self._log.flush()

# SPDX-License-Identifier: MIT
"""Driving a robot behind the emulated board: arming, faults, and arming again.

Firmware, pseudo-terminal and arming are real; time is the board's own (`board_world`).
"""

import pytest
from board_world import World
from learned_run import TASKS

from walkhome.hardware.robot import Stop
from walkhome.robot.teleop.bindings import TeleopConfig
from walkhome.robot.teleop.controller import Teleop
from walkhome.robot.teleop.driver_input import DriverInput
from walkhome.robot.teleop.gamepad import GamepadSource
from walkhome.robot.teleop.telemetry import DriveState, Listeners

HELD, FREE = DriverInput("forward", held=True), DriverInput()


class Driver:
    """An input source that plays (from when in board time, input) pairs; the last one stays."""

    def __init__(self, world, *plan, ends_s, attended=True):
        self.world, self.plan, self.ends_s, self.attended = world, plan, ends_s, attended

    def poll(self, driven_s):
        now_s = self.world.now()
        if now_s >= self.ends_s:
            return DriverInput(ended=True)
        return [driver_input for from_s, driver_input in self.plan if from_s <= now_s][-1]

    def close(self):
        pass


class Log:
    def __init__(self):
        self.events, self.periods = [], []

    @property
    def listeners(self):
        return Listeners(
            self.periods.append, lambda kind, fields: self.events.append({"kind": kind, **fields})
        )

    def kinds(self):
        return [event["kind"] for event in self.events]

    def walking(self):
        return [
            m for m in self.periods if m.drive_state is DriveState.DRIVING and m.gait == "forward"
        ]


@pytest.fixture
def world(tmp_path):
    made = []

    def make(*faults, sets=(), **what):
        tasks = f"tasks=[{', '.join(TASKS)}]"
        made.append(World(tmp_path, *faults, sets=(tasks, *sets), **what))
        return made[-1]

    yield make
    for one in made:
        one.close()


def drive(world, policies, *plan, ends_s, attended=True):
    log, driver = Log(), Driver(world, *plan, ends_s=ends_s, attended=attended)
    plant = world.plant()
    statistics = Teleop(world.config, plant, policies, driver, 0.3, log.listeners).run()
    plant.robot.close()
    return statistics, log


def modes(world):
    return [event["mode"] for event in world.events("mode")]


def test_holding_arms_the_robot_and_releasing_makes_it_limp(world, policies):
    board = world()
    plan = ((0.0, FREE), (3.0, HELD), (11.0, FREE), (13.0, HELD))
    statistics, log = drive(board, policies, *plan, ends_s=20.0)
    assert statistics.settles == 1
    assert statistics.faults == 0
    assert statistics.switches == 2
    torques = [event["board_s"] for event in board.events("torque")]
    limps = [event["board_s"] for event in board.events("limp")]
    assert torques[0] > 3.0  # the dead-man was not held before
    assert len(torques) == 2
    assert 11.0 < limps[0] < 12.0 < 13.0 < torques[1]  # damped for 0.5 s, then limp
    assert {period.drive_state for period in log.periods} == set(DriveState)


@pytest.mark.parametrize("fault", ["unplug@9:0.5", "mute@9:0.5"])
def test_after_a_fault_the_dead_man_must_be_released_and_held_again(world, policies, fault):
    board = world(fault)
    # Held through the fault; released and held again only at 12 s.
    plan = ((0.0, HELD), (11.9, FREE), (12.0, HELD))
    statistics, log = drive(board, policies, *plan, ends_s=20.0)
    assert statistics.faults == 1
    assert (statistics.needs_help, statistics.ended_by) == (False, "")
    (fault_event,) = [event for event in log.events if event["kind"] == "fault"]
    assert fault_event["why"]
    torques = [event["board_s"] for event in board.events("torque")]
    assert len(torques) == 2
    assert torques[0] < 9.0 < 12.0 < torques[1]
    limp_s = board.events("limp")[0]["board_s"]
    assert 9.0 < limp_s < 9.0 + 0.1 + 0.1 + 0.6  # time to notice, command validity, damping
    assert log.kinds()[-3:] == ["stand_up", "stands", "switch"]


def test_after_a_bad_imu_a_person_is_needed(world, policies):
    board = world("bad-imu@9:0.5")
    statistics, log = drive(board, policies, (0.0, HELD), (11.9, FREE), (12.0, HELD), ends_s=20.0)
    assert (statistics.faults, statistics.needs_help) == (1, True)
    assert len(board.events("torque")) == 1
    assert "imu" in next(event for event in log.events if event["kind"] == "fault")["why"].lower()


def test_a_link_lost_while_settled_is_one_fault(world, policies):
    board = world("unplug@4:1")
    plan = ((0.0, FREE), (7.0, HELD))
    statistics, log = drive(board, policies, *plan, ends_s=13.0)  # a fault's pause is over by then
    assert log.kinds().count("fault") == 1
    assert statistics.driven_s > 5.0
    assert board.events("torque")[0]["board_s"] > 7.0
    assert any("the board is back" in event.get("text", "") for event in log.events)


def test_a_fault_ends_a_script(world, policies):
    board = world("unplug@7:0.3")
    statistics, _ = drive(board, policies, (0.0, HELD), ends_s=30.0, attended=False)
    assert "link lost" in statistics.ended_by
    assert board.now() < 10.0
    board.sleep(2.0)
    assert len(board.events("torque")) == 1
    assert modes(board)[-1] == "OFF"


def test_a_cut_is_latched_and_ends_the_drive(world, policies):
    board = world()
    plan = ((0.0, HELD), (7.0, DriverInput(stop=Stop.CUT)))
    statistics, _ = drive(board, policies, *plan, ends_s=30.0)
    assert (statistics.cuts, statistics.ended_by) == (1, "the torque was cut")
    cut_s = next(e["board_s"] for e in board.events("mode") if e["faults"] & 2)
    assert 7.0 <= cut_s < 7.1
    again, log = drive(board, policies, (0.0, HELD), ends_s=30.0)
    assert again.needs_help
    assert any("ESTOP_BOARD" in event.get("text", "") for event in log.events)
    assert len(board.events("torque")) == 1


def test_a_cut_during_arming_is_latched(world, policies):
    board = world()
    plan = (
        (0.0, HELD),
        (0.3, DriverInput(stop=Stop.CUT)),
        (0.31, HELD),
    )  # a key press lasts one poll
    statistics, _ = drive(board, policies, *plan, ends_s=10.0)
    assert (statistics.cuts, statistics.ended_by) == (1, "the torque was cut")
    _, log = drive(board, policies, (0.0, HELD), ends_s=30.0)
    assert any("ESTOP_BOARD" in event.get("text", "") for event in log.events)
    assert board.events("torque") == []


def test_a_release_during_arming_gives_no_torque(world, policies):
    board = world()
    plan = ((0.0, FREE), (3.0, HELD), (3.2, FREE))
    statistics, log = drive(board, policies, *plan, ends_s=6.0)
    assert any(period.drive_state is DriveState.ARMING for period in log.periods)
    assert board.events("torque") == []
    assert (statistics.settles, log.kinds()) == (0, [])


def test_a_robot_that_must_not_be_armed_ends_the_drive_with_the_reason(world, policies):
    board = world(battery_v=12.0)
    statistics, log = drive(board, policies, (0.0, HELD), ends_s=30.0)
    assert statistics.needs_help
    assert any("[BATTERY]" in event.get("text", "") for event in log.events)
    assert board.events("torque") == []


def test_too_many_faults_need_a_person(world, policies):
    faults = [f"mute@{6 + 6 * k}:0.3" for k in range(4)]
    board = world(*faults, sets=("board.rearms_per_10_min=1",))
    plan = [(0.0, HELD)]
    for k in range(4):
        plan += [(7.0 + 6 * k, FREE), (7.1 + 6 * k, HELD)]
    statistics, _ = drive(board, policies, *plan, ends_s=40.0)
    assert statistics.needs_help
    assert statistics.faults == 2


def test_a_board_that_falls_silent_before_the_drive_ends_it(world, policies):
    board = world("mute@0.5")
    statistics, _ = drive(board, policies, (0.0, FREE), ends_s=30.0, attended=False)
    assert "no telemetry" in statistics.ended_by
    assert board.now() < 3.0
    assert board.events("torque") == []


def press_both_shoulders(pad):
    pad.press("leftshoulder")
    pad.press("rightshoulder")


class Hand:
    """Holds a pad, stick forward, from 3 s on; calls `then` after a second of walking."""

    def __init__(self, world, log, pad, then):
        self._world, self._log, self._pad, self._then = world, log, pad, then
        self._source = GamepadSource(TeleopConfig(), None, world.now)
        self._polls, self.done_s = 0, None
        self.attended = self._source.attended
        self.close = self._source.close

    def poll(self, driven_s):
        self._polls += 1
        if self.done_s is None and self._world.now() > 3.0:
            self._pad.pull(0.9 + 0.02 * (self._polls % 2))  # a hand trembles, so events keep coming
            self._pad.axis("lefty", -1.0)
            if len(self._log.walking()) > 50:
                self._then(self._pad)
                self.done_s = self._world.now()
        if self._world.now() > 20.0:
            return DriverInput(ended=True)
        return self._source.poll(driven_s)


@pytest.mark.parametrize(
    ("then", "mode", "cuts"),
    [(lambda pad: pad.unplug(), "DAMP", 0), (press_both_shoulders, "OFF", 1)],
    ids=["unplugged", "both shoulder buttons"],
)
def test_a_gamepad_drives_a_board(world, policies, plug, then, mode, cuts):
    """Real parts: SDL with a virtual pad, the firmware, and the board's log of its torque."""
    board = world()
    log = Log()
    hand = Hand(board, log, plug(), then)
    plant = board.plant()
    try:
        statistics = Teleop(board.config, plant, policies, hand, 0.3, log.listeners).run()
    finally:
        hand.close()
        plant.robot.close()
    assert (statistics.cuts, statistics.settles) == (cuts, 1 - cuts)
    assert len(log.walking()) > 50
    (torque,) = board.events("torque")  # exactly once
    assert torque["board_s"] > 3.0
    assert board.events("limp")[0]["board_s"] - hand.done_s < (0.1 if cuts else 0.9)
    after = [event["mode"] for event in board.events("mode") if event["board_s"] >= hand.done_s]
    assert (after[0], after[-1]) == (mode, "OFF")

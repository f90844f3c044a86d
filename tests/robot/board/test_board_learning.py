# SPDX-License-Identifier: MIT
"""Learning on the emulated board through firmware, pseudo-terminal and pose socket, with faults.

Time is the board's own (`board_world`), so a test is exact and runs as fast as the physics.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from board_world import World
from small_runs import SMALL, Silent

from walkhome.hardware.robot import MotorCommand, PoseLost, RobotStopped, Stop
from walkhome.hardware.serial.protocol import Decoder, MessageType, fields_of
from walkhome.robot.board.examination import NotReady
from walkhome.robot.control.plant import ROBOT_FAULTS
from walkhome.robot.storage.journal import PHASE_EPISODE, read_journal
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.storage.transitions import transitions
from walkhome.robot.training.trainer import Trainer

QUICK = (*SMALL, "run.checkpoint_every_s=4.0", "learning.random_steps=20")


def never():
    return False


def learn(world, folder, stop=None, resume=False):
    view = Silent()
    plant = world.plant()
    run = RunFolder.resume(folder) if resume else RunFolder.create(folder, world.config)
    trainer = Trainer(
        world.config, run, view, stop or SimpleNamespace(requested=False), plant, resume
    )
    with run:
        summary = trainer.run()
    return trainer, summary, view


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with three faults during episodes: unplugged cable, silent board, jump of the pose."""
    folder = tmp_path_factory.mktemp("board")
    faults = ("unplug@6.6:0.5", "mute@14.0:0.4", "carried@25.0:4.0")
    sets = (*QUICK, "run.minutes=0.65", "episode.length_s=4.0")
    with World(folder, *faults, sets=sets) as world:
        trainer, summary, view = learn(world, folder / "run")
        events = world.events("fault")
    return SimpleNamespace(
        trainer=trainer, summary=summary, view=view, events=events, path=folder / "run"
    )


def test_it_learns_on_a_board(whole):
    assert whole.summary["status"] == "done"
    assert whole.summary["steps"] > 200
    assert whole.summary["gradient_steps"] > 0
    assert whole.summary["human_resets"] == 0
    assert whole.summary["board"]["robot_id"] == "emulated"
    assert 20.0 <= whole.summary["board"]["board_timeout_ms"] <= 60.0


def test_every_fault_is_handled_and_the_run_goes_on(whole):
    caught = [
        event["what"] for event in RunFolder.open(whole.path).events() if event["event"] == "fault"
    ]
    assert [event["what"] for event in whole.events if event["active"]] == [
        "unplug",
        "mute",
        "carried",
    ]
    assert caught == ["LinkLost", "LinkLost", "PoseLost"]
    faults = [e for e in RunFolder.open(whole.path).events() if e["event"] == "fault"]
    assert [(e["code"], e["used"], e["budget"]) for e in faults] == [
        ("link_lost", 1, 3),
        ("link_lost", 2, 3),
        ("pose_lost", 1, None),  # no budget: it is waited for each time
    ]
    assert all(e["goes_on"] and e["timeline"][-1]["at_ms"] < 0.0 for e in faults)
    board = whole.summary["board"]
    assert board["faults"] == {"link_lost": 2, "pose_lost": 1}
    assert board["budgets"] == {"link_lost": {"used": 2, "budget": 3}}
    assert board["armed"] >= 4
    assert board["reconnects"] == 2
    assert any("the board is back" in text for text in whole.view.messages)


def test_the_summary_has_the_timing(whole):
    board = whole.summary["board"]
    assert board["link_losses"] == 2
    assert board["lateness"]["count"] == sum(row["ticks"] for row in board["lateness_histogram"])
    assert board["lateness"]["p99_9_ms"] >= board["lateness"]["p50_ms"] > 0.0
    assert board["achieved_hz"] <= whole.trainer._config.control.rate_hz
    assert board["telemetry_age"]["count"] > whole.summary["steps"]
    assert board["telemetry"]["fresh"] > whole.summary["steps"]  # over all three connections
    figures = whole.trainer._plant.stats()
    assert figures.link_losses == 2
    assert "link_lost 2/3" in figures.line()
    silences = [one["ms"] for one in board["longest_silences"]]  # in wall-clock time
    assert len(silences) == 5
    assert silences == sorted(silences, reverse=True)
    assert silences[-1] > 0.0


def test_no_transition_crosses_a_fault(whole):
    """The learner has the transitions that the journal holds: consecutive steps, 20 ms apart."""
    records = read_journal(whole.path / "journal").records
    given = list(transitions(records, whole.trainer._config))
    assert len(given) == whole.summary["steps"] == len(whole.trainer._learner.replay)
    times = dict(zip(records["index"].tolist(), records["time_s"].tolist(), strict=True))
    longest_s = max(times[t.index] - times[t.index - 1] for t in given if t.index - 1 in times)
    assert longest_s < 0.05
    moving = records[records["phase"] == PHASE_EPISODE]
    jumps = np.abs(np.diff(moving["pose"][:, 0]))[np.diff(moving["index"]) == 1]
    assert jumps.max() < 0.5  # the pose that jumped by 2 m is in no transition


def test_waiting_time_is_counted(whole):
    minutes = whole.summary["robot_minutes"]
    assert minutes["waiting"] * 60.0 > 1.5  # 0.5 s and 0.4 s without telemetry, and the re-arming
    assert minutes["total"] == pytest.approx(
        minutes["moving"] + minutes["standing_up"] + minutes["waiting"]
    )


def test_a_board_run_is_resumed_on_a_board(whole, tmp_path):
    import shutil

    shutil.copytree(whole.path, tmp_path / "run")
    before = whole.summary["steps"]
    minutes = whole.summary["robot_minutes"]["total"] + 0.2
    with World(tmp_path, sets=(*QUICK, f"run.minutes={minutes}", "episode.length_s=4.0")) as world:
        run = RunFolder.resume(tmp_path / "run", minutes)
        trainer = Trainer(
            world.config, run, Silent(), SimpleNamespace(requested=False), world.plant(), True
        )
        assert trainer._statistics.steps == before
        assert len(trainer._learner.replay) == before
        with run:
            summary = trainer.run()
    assert summary["status"] == "done"
    assert summary["steps"] > before


def test_a_stop_request_settles_the_robot(tmp_path):
    with World(tmp_path, sets=QUICK) as world:
        stop = SimpleNamespace(requested=False)
        sleep = world.sleep

        def until_it_walks(seconds):
            sleep(seconds)
            stop.requested = world.now() > 7.0

        world.sleep = until_it_walks
        _, summary, _ = learn(world, tmp_path / "run", stop)
        assert summary["status"] == "interrupted"
        world.board._look_for_faults(world.now())
        for _ in range(500):
            world.board.step()
        modes = [event["mode"] for event in world.events("mode")]
        assert "DAMP" in modes
        assert modes[-1] == "OFF"


def test_waiting_ends_with_the_runs_minutes(tmp_path):
    """If the cable stays unplugged, the run still ends after `run.minutes`."""
    sets = (*QUICK, "run.minutes=0.4")
    with World(tmp_path, "unplug@12.0:600", sets=sets) as world:
        _, summary, _ = learn(world, tmp_path / "run")
    assert summary["status"] == "done"
    assert 0.4 <= summary["robot_minutes"]["total"] < 0.45
    assert summary["robot_minutes"]["waiting"] > 0.1


def test_a_flat_battery_needs_a_person(tmp_path):
    with World(tmp_path, "brown-out@3.0", sets=QUICK) as world:
        _, summary, view = learn(world, tmp_path / "run")
    assert summary["status"] == "needs_help"
    assert any("[BATTERY]" in text for text in view.messages)


def test_a_budget_that_is_used_up_needs_a_person(tmp_path):
    faults = [f"mute@{2 + 1.5 * k}:0.2" for k in range(40)]
    with World(tmp_path, *faults, sets=(*QUICK, "run.minutes=1.5")) as world:
        _, summary, view = learn(world, tmp_path / "run")
        assert (summary["status"], summary["board"]["faults"]) == ("needs_help", {"link_lost": 4})
        assert summary["board"]["budgets"] == {"link_lost": {"used": 4, "budget": 3}}
        said = " ".join(view.messages)
        assert "link_lost: armed again in " in said  # after a pause
        assert "4 in 10 min (limit 3)" in view.messages[-1]
        last = [e for e in RunFolder.open(tmp_path / "run").events() if e["event"] == "fault"][-1]
        assert not last["goes_on"]


def test_too_many_faults_need_a_person(tmp_path):
    faults = [f"mute@{2 + 1.5 * k}:0.2" for k in range(40)]
    sets = (*QUICK, "run.minutes=1.5", "board.rearms_per_10_min=2")
    with World(tmp_path, *faults, sets=sets) as world:
        _, summary, view = learn(world, tmp_path / "run")
    assert summary["status"] == "needs_help"
    assert summary["board"]["faults"] == {"link_lost": 3}
    assert "3 faults within 10 minutes" in view.messages[-1] + view.messages[-2]


# -- arming, without learning ----------------------------------------------------------------------


def drive(world, plant, seconds):
    """Hold the present posture with weak gains for some seconds."""
    hold = plant.robot.read().motor_angle_rad
    for _ in range(round(seconds / plant.clock.period_s)):
        plant.place()
        plant.robot.command(MotorCommand(hold, kp=0.1, kd=0.01, valid_s=0.1))
        plant.clock.tick()
        plant.robot.read()


def drive_until_fault(world, plant, seconds):
    try:
        drive(world, plant, seconds)
    except ROBOT_FAULTS as error:
        plant.robot.stop(Stop.SETTLE)
        return error
    return None


@pytest.mark.parametrize(
    ("fault", "reconnects"),
    [
        ("unplug@5:0.3", 1),
        ("mute@5:0.3", 1),
        ("freeze@5:0.3", 1),
        ("reboot@5:0.1", 1),
        ("blind@5:0.6", 0),
    ],
)
def test_a_passing_fault_is_followed_by_arming_again(tmp_path, fault, reconnects):
    with World(tmp_path, fault) as world:
        plant = world.plant()
        plant.arming.check_ready()
        assert plant.arming.ready(never)
        with pytest.raises(ROBOT_FAULTS) as caught:
            drive(world, plant, 5.0)
        plant.robot.stop(Stop.SETTLE)
        with pytest.raises(RobotStopped, match="not armed"):
            plant.robot.command(MotorCommand(np.zeros(8), kp=0.1, kd=0.0))
        assert plant.arming.fault(caught.value)
        assert plant.arming.ready(never)
        drive(world, plant, 0.3)
        assert (plant.robot.reconnects > 0) == bool(reconnects)
        assert plant.arming.arms == 2


def test_a_bad_imu_never_clears_by_itself(tmp_path):
    with World(tmp_path, "bad-imu@5:0.3") as world:
        plant = world.plant()
        assert plant.arming.ready(never)
        with pytest.raises(RobotStopped) as caught:
            drive(world, plant, 5.0)
        plant.robot.stop(Stop.SETTLE)
        assert not plant.arming.fault(caught.value)
        assert plant.arming.budget.last["code"] == "imu"
        assert "a person is needed: imu" in world.said[-1]


def test_a_garbled_wire_never_yields_implausible_telemetry(tmp_path):
    with World(tmp_path, "garble@3:1.0") as world:
        plant = world.plant()
        assert plant.arming.ready(never)
        end_s = world.now() + 4.0
        while world.now() < end_s:
            assert plant.arming.ready(never)
            error = drive_until_fault(world, plant, 0.5)
            assert error is None or plant.arming.fault(error)
        assert plant.robot.telemetry.implausible == 0


def test_a_late_loop_is_stopped_by_the_board(tmp_path):
    """The host sends nothing for 1 s: the board damps when the last command expires."""
    with World(tmp_path) as world:
        plant = world.plant()
        assert plant.arming.ready(never)
        drive(world, plant, 0.3)
        begin_s = world.now()
        world.sleep(1.0)
        with pytest.raises(ROBOT_FAULTS):
            plant.robot.read()
        (damped,) = [
            event
            for event in world.events("mode")
            if event["mode"] == "DAMP" and event["board_s"] >= begin_s
        ]
        assert damped["board_s"] - begin_s <= 0.1 + 0.012
        assert world.events("limp")[-1]["board_s"] - begin_s <= 0.65


@pytest.mark.parametrize(
    ("what", "known", "codes"),
    [
        ({"battery_v": 13.0}, 1, {"BATTERY"}),
        ({"start": "back"}, 1, {"TILT"}),
        ({"zero_table": 5}, 1, {"ZERO_TABLE"}),
        ({}, None, {"CALIBRATION_MISSING"}),
        ({"battery_v": 13.0, "start": "side", "zero_table": 5}, 1, {"BATTERY", "ZERO_TABLE"}),
    ],
)
def test_a_robot_that_must_not_be_armed_gets_no_torque(tmp_path, what, known, codes):
    with World(tmp_path, **what) as world:
        plant = world.plant(known_zero_table=known)
        with pytest.raises(NotReady) as refusal:
            plant.arming.check_ready()
        assert codes <= {finding.code for finding in refusal.value.findings}
        for code in codes:
            assert f"[{code}]" in str(refusal.value)
        assert not plant.arming.ready(never)
        assert world.events("torque") == []
        plant.clock.tick()
        assert plant.clock.skipped == 0  # the examination is no lateness


def test_without_poses_it_is_refused(tmp_path):
    with World(tmp_path, "blind@0") as world:
        plant = world.plant()
        with pytest.raises(NotReady, match="POSE_MISSING"):
            plant.arming.check_ready()
        assert world.events("torque") == []


def test_an_emergency_stop_is_released_by_people_only(tmp_path):
    with World(tmp_path) as world:
        plant = world.plant()
        assert plant.arming.ready(never)
        drive(world, plant, 0.2)
        plant.robot.stop(Stop.CUT)
        world.sleep(0.1)
        assert not plant.arming.ready(never)
        assert "ESTOP_BOARD" in world.said[-1]
        latched = ["latched by a test"]
        plant.arming._examiner.estop = lambda: latched[0]
        plant.robot.clear_faults()
        assert not plant.arming.ready(never)
        assert "latched by a test" in world.said[-1]
        latched[0] = ""
        assert plant.arming.ready(never)


def test_arming_gives_no_torque_before_the_first_command(tmp_path):
    with World(tmp_path) as world:
        sent = []
        write = world.board._core.receive

        def receive(data, now_us):
            sent.append(data)
            write(data, now_us)

        world.board._core.receive = receive
        plant = world.plant()
        plant.arming.check_ready()
        assert plant.arming.ready(never)
        assert world.events("torque") == []
        frames = list(Decoder().feed(b"".join(sent)))
        modes = {fields_of(f)["mode"] for f in frames if f.kind is MessageType.COMMAND}
        assert modes == {0}


def test_poses_have_noise_delay_and_gaps(tmp_path):
    from walkhome.sim.emulator.pose import PoseSettings

    settings = PoseSettings(rate_hz=50.0, noise_m=0.01, delay_s=0.05, drop=0.5)
    with World(tmp_path, pose=settings) as world:
        seen = {}
        for _ in range(2000):
            world.sleep(0.002)
            pose = world.pose.latest()
            seen[pose.time_s] = pose
            assert world.now() - pose.time_s >= 0.049 or not pose.ok
        assert 60 < len(seen) < 140  # 200, half of them dropped
        truth = world.twin.latest().x_m
        late = [pose.x_m for time_s, pose in seen.items() if time_s > 2.0]
        assert 0.005 < np.std(np.array(late) - truth) < 0.02


def test_a_reading_by_wire_is_as_old_as_one_in_lockstep(tmp_path):
    """`sim.sensor_latency_s`, 20 ms, is from sensor to control loop, the wire included."""
    with World(tmp_path, sets=("sim.physics_rate_hz=2000",)) as world:
        plant = world.plant()
        assert plant.arming.ready(never)
        step, truth, read = world.board.step, [], []

        def watched_step():
            step()
            truth.append((world.now(), world.twin.true_state().motor_angle_rad))

        world.board.step = watched_step
        hold = plant.robot.read().motor_angle_rad
        for _ in range(600):
            swing = 0.4 * np.sin(2.0 * np.pi * 2.0 * world.now())
            plant.robot.command(MotorCommand(hold + swing, kp=1.0, kd=0.02, valid_s=0.1))
            plant.clock.tick()
            read.append((world.now(), plant.robot.read().motor_angle_rad))
        times, angles = (np.array(column) for column in zip(*truth, strict=True))
        # From here on the host's clock follows the telemetry.
        at, seen = (np.array(column) for column in zip(*read[450:], strict=True))
        errors = {}
        for lag_ms in range(40):
            then = np.array([np.interp(at - lag_ms * 1e-3, times, motor) for motor in angles.T]).T
            errors[lag_ms] = np.square(seen - then).mean()
        assert 18 <= min(errors, key=errors.get) <= 22


def test_odometry_follows_the_robot(tmp_path):
    from walkhome.hardware.pose.odometry import LegOdometry

    with World(tmp_path) as world:
        plant = world.plant()
        odometry = LegOdometry(plant.robot.body)
        plant.robot.listeners.append(odometry.update)
        assert plant.arming.ready(never)
        drive(world, plant, 0.3)
        assert odometry.latest().ok
        assert abs(odometry.latest().yaw_rad) < 0.2


def test_pose_is_lost_when_it_jumps(tmp_path):
    with World(tmp_path, "carried@4:2.0") as world:
        plant = world.plant()
        assert plant.arming.ready(never)
        with pytest.raises(PoseLost):
            drive(world, plant, 5.0)

# SPDX-License-Identifier: MIT
"""Evaluation: what is measured in the twin, and that looking and pushing do what they say."""

import json

import numpy as np
import pytest
from learned_run import TASKS
from safetensors.numpy import load_file, save_file

from hardware.robot import RobotError
from learning.policy import PolicyInvalid
from robot.config import ConfigError, config_to_yaml
from robot.evaluate import Plan, evaluate, summary
from robot.gait_record import GaitRecord, GaitRecordInvalid, load_gait, save_gait
from robot.report_gait import gait_rows
from robot.rig import Actuator, make_twin
from robot.roll_out import roll_out
from robot.run import RunFolder
from robot.twin_meter import MeteredClock, Pushes
from sim.motor import electrical_power_w
from sim.probe import foot_forces, mass_kg, push

GRAVITY = 9.81


@pytest.fixture
def standing(config):
    """A twin that has stood in its stance for a second, and how to go on."""
    rig = make_twin(config, 0)
    stance = rig.robot.body.stance_motor_rad()

    def hold(seconds, clock=None):
        clock = clock or rig.clock
        actuator = Actuator(rig, config)
        actuator.start(rig.robot.read())
        for _ in range(round(seconds / 0.02)):
            actuator.pose(stance, rig.robot.read(), 0.5, 0.005)
            clock.tick()

    hold(1.0)
    yield rig.robot, hold
    rig.robot.close()


def test_the_feet_of_a_robot_that_stands_carry_its_weight(standing):
    twin, hold = standing
    forces = []
    for _ in range(20):
        hold(0.02)
        forces.append(foot_forces(twin))
    assert mass_kg(twin) == pytest.approx(6.0, abs=1.0)
    assert np.sum(forces, axis=1).mean() == pytest.approx(mass_kg(twin) * GRAVITY, rel=0.1)
    assert (np.mean(forces, axis=0) > 2.0).all()


def test_a_push_gives_its_impulse(standing):
    twin, _ = standing
    before = twin.true_state().velocity_m_s
    for _ in range(5):
        push(twin, np.array([0.0, 300.0, 0.0]))
        twin.advance(0.002)
    gained = (twin.true_state().velocity_m_s - before)[1]
    assert 0.1 < gained < 1.5 * 3.0 / mass_kg(twin)  # 3 N s; feet hold against it, legs lag


def test_pushes_last_as_long_and_are_as_strong_as_they_say():
    pushes, dt = Pushes(3.0, np.random.default_rng(0)), 0.002
    forces = [pushes.force_n(step * dt) for step in range(10_000)]
    total = sum(np.linalg.norm(force) for force in forces if force is not None) * dt
    assert pushes.count >= 20.0 / 3.1
    assert total / pushes.count == pytest.approx(3.0, rel=0.05)
    directions = {tuple(np.round(force, 6)) for force in forces if force is not None}
    assert len(directions) == pushes.count
    assert all(force[2] == 0.0 for force in forces if force is not None)


def test_power_is_heat_and_back_emf():
    assert electrical_power_w(np.array(1.0), np.array(10.0), np.array(0.0)) == pytest.approx(18.6)
    drives = electrical_power_w(np.array(1.0), np.array(10.0), np.array(20.0))
    brakes = electrical_power_w(np.array(-1.0), np.array(10.0), np.array(20.0))
    assert drives == pytest.approx(18.6 + 19.08)
    assert brakes == pytest.approx(18.6 - 19.08)


def test_who_is_metered_moves_as_if_nobody_looked(config):
    states = []
    for metered in (False, True):
        rig = make_twin(config, 5)
        clock = rig.clock
        if metered:
            clock = MeteredClock(rig.robot, config.control.rate_hz)
            clock.start()
        for step in range(50):
            target = rig.robot.body.action_to_motor(np.full(8, 0.3 * np.sin(step)))
            Actuator(rig, config).script(target, 0.5, 0.005, rig.robot.read())
            clock.tick()
        states.append(rig.robot.true_state())
        rig.robot.close()
    for name in ("position_m", "quaternion_xyzw", "motor_angle_rad"):
        np.testing.assert_array_equal(getattr(states[0], name), getattr(states[1], name))
    record = clock.record()
    assert record.torque_nm.shape == (500, 8)
    assert record.time_s[0] == pytest.approx(0.002)
    assert record.time_s[-1] == pytest.approx(1.0)
    np.testing.assert_allclose(record.motor_angle_rad[-1], states[1].motor_angle_rad)
    assert 0.0 < record.torque_rms_nm <= record.torque_peak_nm <= 3.5
    assert 0.0 < record.mean_mechanical_power_w < record.mean_power_w


def test_a_roll_out_repeats_itself_and_pushes_change_it(config, policies):
    def run(number=0, push_n_s=0.0):
        return roll_out(config, "forward", policies["forward"], number, 2.5, push_n_s)

    first, again, other, pushed = run(), run(), run(number=1), run(push_n_s=4.0)
    assert first.result == again.result
    assert first.result.start[2] != pytest.approx(other.result.start[2])  # another heading
    assert pushed.pushes == 1
    assert first.pushes == 0
    assert np.hypot(*np.subtract(pushed.result.end, first.result.end)[:2]) > 0.01
    assert first.cost_of_transport is None  # it stands
    assert len(first.record.time_s) == 1250


def test_the_whole_answer(learned, config):
    said = []
    plan = Plan(["flat", "mattress"], episodes=2, seconds=1.0, film=True)
    answer = evaluate(learned, plan, lambda text, share: said.append((text, share)))
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["terrain"] == answer["learned_on"] == "flat"
    assert list(answer["terrains"]) == ["flat", "mattress"]
    assert answer["tasks"] == answer["terrains"]["flat"]
    assert list(answer["tasks"]) == list(TASKS)
    task = answer["tasks"]["forward"]
    assert task["episodes"] == 2
    assert task["falls"] == task["exits"] == 0
    for name in ("speed_m_s", "turn_rate_rad_s", "drift_m", "torque_rms_nm", "power_w"):
        low, high = task["interval95"][name]
        assert low <= task[name] <= high
    assert task["interval95"]["fall_rate"][1] > 0.5  # two are not many
    assert [share for _, share in said] == pytest.approx(np.arange(16) / 16)
    record, facts = load_gait(learned / "report" / "gait" / "left.safetensors")
    assert len(record.time_s) == 500
    assert facts == {"task": "left", "terrain": "mattress"}
    assert len(list((learned / "report" / "frames").glob("*.png"))) == 0  # they start at 2 s
    assert (
        evaluate(learned, Plan(episodes=1, seconds=1.0))["tasks"]["forward"]["interval95"][
            "speed_m_s"
        ]
        is None
    )


def test_a_terrain_that_is_named_twice_is_refused(learned):
    with pytest.raises(ConfigError, match="'flat' is there twice"):
        evaluate(learned, Plan(["flat", "flat"], episodes=1, seconds=0.5))


def test_a_fall_counts_and_its_speed_is_over_the_whole_time(config, policies):
    out = roll_out(config, "forward", policies["forward"], 0, 10.0, push_n_s=25.0)
    assert out.fell
    assert out.share < 1.0
    told = summary([out])
    assert told["falls"] == 1
    assert told["speed_m_s"] == pytest.approx(out.result.speed_m_s * out.share)


def test_policies_that_do_not_fit_are_refused(learned, config):
    robot = config.robot.model_copy(update={"name": "other"})
    control = config.control.model_copy(update={"history_frames": 3})
    for change, word in (({"robot": robot}, "body"), ({"control": control}, "observation")):
        text = config_to_yaml(config.model_copy(update=change))
        (learned / "config.yaml").write_text(text)
        with pytest.raises(PolicyInvalid, match=f"its {word} is"):
            evaluate(learned)
    (learned / "config.yaml").write_text(config_to_yaml(config))
    (learned / "policy.safetensors").unlink()
    with pytest.raises(PolicyInvalid, match="no policy yet"):
        evaluate(learned)


def test_a_damaged_gait_record_is_refused_and_the_report_says_so(tmp_path):
    path = tmp_path / "walk.safetensors"
    rows = np.arange(300) * 0.002
    record = GaitRecord(rows, *(np.ones((300, n)) for n in (4, 8, 8, 8, 8)))
    save_gait(path, record, {"task": "forward"})
    np.testing.assert_allclose(load_gait(path)[0].time_s, rows, atol=1e-6)
    arrays = load_file(path)
    save_file({**arrays, "power_w": np.full((300, 8), np.nan, np.float32)}, path)
    with pytest.raises(GaitRecordInvalid, match="robot eval"):
        load_gait(path)
    path.write_bytes(b"torn")
    with pytest.raises(GaitRecordInvalid, match="not a gait record"):
        load_gait(path)


def test_the_report_s_table_has_a_row_per_task():
    rows = np.arange(3000) * 0.002
    feet = np.stack([np.sin(2 * np.pi * (2 * rows - p)) for p in (0, 0.5, 0.5, 0)], 1) * 50
    eight = np.full((3000, 8), 2.0)
    record = GaitRecord(rows, np.maximum(feet, 0.0), eight, eight, eight, -eight)
    run = type("Run", (), {"gaits": {"forward": record}})()
    [[task, name, contacts, strides, steps, power, mechanical, *legs]] = gait_rows(run)
    assert (task, name, strides, steps) == ("forward", "trot", "2.00", "8.0")
    assert contacts == "measured, in the twin"
    assert (power, mechanical) == ("0", "32")
    assert legs[0] in ("0.49", "0.50")
    assert legs[4:] == ["0.00 ± 0.00", "0.50 ± 0.00", "0.50 ± 0.00", "0.00 ± 0.00"]


def test_a_film_of_a_roll_out_that_goes_wrong_is_thrown_away(learned, monkeypatch):
    def broken(*arguments, **more):
        watch = arguments[6](rig, "forward")
        assert watch is not None
        raise RobotError("the twin can't stand up")

    run = RunFolder.open(learned)
    rig = make_twin(run.config, 0)
    monkeypatch.setattr("robot.evaluate.roll_out", broken)
    with pytest.raises(RobotError):
        evaluate(learned, Plan(episodes=1, seconds=1.0, video=True))
    rig.robot.close()
    assert list((learned / "report").iterdir()) == []

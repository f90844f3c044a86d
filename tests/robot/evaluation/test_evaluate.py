# SPDX-License-Identifier: MIT
"""Evaluation in the twin: measurements, pushes, summaries and files."""

import json

import numpy as np
import pytest
from learned_run import TASKS
from safetensors.numpy import load_file, save_file

from walkhome.hardware.robot import RobotError
from walkhome.learning.policy import PolicyInvalid
from walkhome.robot.config.resolve import ConfigError, config_to_yaml
from walkhome.robot.control.episode import EpisodeResult
from walkhome.robot.control.target import Target
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.evaluation.evaluate import EvaluationPlan, evaluate, summary
from walkhome.robot.evaluation.gait_record import (
    GaitRecord,
    GaitRecordInvalid,
    load_gait,
    save_gait,
)
from walkhome.robot.evaluation.instrumented_clock import InstrumentedClock, Pushes
from walkhome.robot.evaluation.rollout import RollOut, roll_out
from walkhome.robot.report.gait_figures import gait_rows
from walkhome.robot.storage.policies import policy_digest
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.sim.instruments import foot_forces, mass_kg, push
from walkhome.sim.motor import electrical_power_w

GRAVITY = 9.81


@pytest.fixture
def standing(config):
    """A twin that has stood for a second, and a function that holds the stance."""
    rig = make_twin(config, 0)
    stance = rig.robot.body.stance_motor_rad()

    def hold(seconds, clock=None):
        clock = clock or rig.clock
        actuator = rig.actuator
        actuator.reset(rig.robot.read())
        for _ in range(round(seconds / 0.02)):
            actuator.send(Target(stance, 0.5, 0.005), rig.robot.read())
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


def test_recording_does_not_change_the_motion(config):
    states = []
    for metered in (False, True):
        rig = make_twin(config, 5)
        clock = rig.clock
        if metered:
            clock = InstrumentedClock(rig.robot, config.control.rate_hz)
            clock.start()
        for step in range(50):
            target = rig.robot.body.action_to_motor(np.full(8, 0.3 * np.sin(step)))
            rig.actuator.send(Target(target, 0.5, 0.005, scripted=True), rig.robot.read())
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


def test_the_result_of_an_evaluation(learned, config):
    said = []
    plan = EvaluationPlan(["flat", "mattress"], episodes=2, seconds=1.0, film=True)
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
    digest = policy_digest(learned / "policy.safetensors")
    assert facts == {
        "task": "left", "terrain": "mattress", "roll_out": "0", "ended": "timeout",
        "policy": digest,
    }  # fmt: skip
    assert len(digest) == 16
    assert len(list((learned / "report" / "frames").glob("*.png"))) == 0  # they start at 2 s
    assert (
        evaluate(learned, EvaluationPlan(episodes=1, seconds=1.0))["tasks"]["forward"][
            "interval95"
        ]["speed_m_s"]
        is None
    )


def walked(task, start, end, *, steps=500, ended="timeout", speed=0.6, power_w=90.0):
    """Make a roll-out of 10 s of a robot of 6 kg with known values."""
    rows = np.arange(4) * 0.002
    eight = np.ones((4, 8))
    power = np.zeros((4, 8))
    power[:, 0], power[:, 1] = power_w, -5.0  # one motor brakes, which gives nothing back
    record = GaitRecord(rows, np.ones((4, 4)), eight, eight, eight, power)
    result = EpisodeResult(
        task, steps, ended, start, end, speed, 0.25, 1200.0, (0.0, 0.0), (0.0, 0.0)
    )
    return RollOut(result, 10.0, 0.02, record, False, 6.0, 0)


def test_ways_are_along_and_across_the_task_s_direction():
    # It looks along y and goes 4 m that way, and 1 m to its right, which is +x.
    start, end = (1.0, 0.0, np.pi / 2), (2.0, 4.0, 0.3)
    assert walked("forward", start, end).straight_speed_m_s == pytest.approx(0.4)
    assert walked("backward", start, end).straight_speed_m_s == pytest.approx(-0.4)
    for task in ("forward", "backward"):
        assert walked(task, start, end).drift_m == pytest.approx(1.0)
    turned = walked("left", start, (4.0, 4.0, 0.3))
    assert turned.drift_m == pytest.approx(5.0)  # from the spot
    assert turned.straight_speed_m_s == 0.0


def test_cost_of_transport_is_power_over_weight_and_speed():
    way = ((0.0, 0.0, 0.0), (6.0, 0.0, 0.0))
    out = walked("forward", *way)
    assert out.cost_of_transport == pytest.approx(90.0 / (6.0 * 9.81 * 0.6), rel=1e-3)
    # A fall after half of the time changes nothing: power and speed are of the part it walked.
    fell = walked("forward", *way, steps=250, ended="fall")
    assert fell.cost_of_transport == pytest.approx(out.cost_of_transport)
    assert walked("forward", *way, speed=0.04).cost_of_transport is None
    assert walked("left", *way).cost_of_transport is None


def test_the_time_after_a_fall_counts_as_standing_still():
    way = ((0.0, 0.0, 0.0), (3.0, 0.0, 0.0))
    fell = walked("forward", *way, steps=250, ended="fall")
    told = summary([fell])
    assert told["speed_m_s"] == pytest.approx(0.3)
    assert told["turn_rate_rad_s"] == pytest.approx(0.125)
    assert told["return_per_step"] == pytest.approx(1200.0 / 500)
    assert told["straight_speed_m_s"] == pytest.approx(0.3)
    assert told["falls"] == 1


def test_a_walk_out_of_the_workspace_is_an_exit(learned, config, policies, monkeypatch):
    small = config.workspace.model_copy(update={"half_length_m": 0.5, "half_width_m": 0.5})
    tiny = config.model_copy(update={"workspace": small})
    place = "walkhome.robot.evaluation.rollout.place_at_edge"
    inside = roll_out(tiny, "forward", policies["forward"], 0, 0.5)
    assert not inside.left_workspace
    monkeypatch.setattr(
        place, lambda twin, *_: twin.place(np.array([0.7, 0.0, 0.23]), (0.0, 0.0, 0.0, 1.0), None)
    )
    outside = roll_out(tiny, "forward", policies["forward"], 0, 0.5)
    assert outside.left_workspace
    assert summary([inside, outside])["exits"] == 1


def test_runs_of_different_seeds_share_no_roll_out(config, policies):
    def start(seed, number):
        run = config.run.model_copy(update={"seed": seed})
        changed = config.model_copy(update={"run": run})
        return roll_out(changed, "forward", policies["forward"], number, 0.5).result.start

    assert start(0, 1) != start(1, 0)
    assert start(0, 1) == start(0, 1)


def test_a_terrain_that_is_named_twice_is_refused(learned):
    with pytest.raises(ConfigError, match="two terrains are named 'flat'"):
        evaluate(learned, EvaluationPlan(["flat", "flat"], episodes=1, seconds=0.5))


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
    assert (task, strides, steps) == ("forward", "2.00", "8.0")
    assert name in ("walking trot", "running trot")  # its duty factor is 0.5
    assert contacts == "measured, in the twin"
    assert (power, mechanical) == ("0", "32")
    assert legs[0] in ("0.49", "0.50")
    assert legs[4:] == ["0.00 ± 0.00", "0.50 ± 0.00", "0.50 ± 0.00", "0.00 ± 0.00"]


def test_the_gait_on_record_is_of_a_roll_out_that_did_not_fall(learned, monkeypatch):
    def first_falls(config, task, policy, number, *more):
        falls = number == 0 or task == "left"
        way = ((0.0, 0.0, 0.0), (1.0 + number, 0.0, 0.0))
        return walked(task, *way, ended="fall" if falls else "timeout", power_w=10.0 * number)

    monkeypatch.setattr("walkhome.robot.evaluation.evaluate.roll_out", first_falls)
    evaluate(learned, EvaluationPlan(episodes=3, film=True))
    record, facts = load_gait(learned / "report" / "gait" / "forward.safetensors")
    assert (facts["roll_out"], facts["ended"], record.mean_power_w) == ("1", "timeout", 10.0)
    _, facts = load_gait(learned / "report" / "gait" / "left.safetensors")
    assert (facts["roll_out"], facts["ended"]) == ("0", "fall")


def test_a_film_on_other_ground_or_of_pushes_has_another_name(learned):
    def films(**plan):
        answer = evaluate(learned, EvaluationPlan(episodes=1, seconds=0.5, video=True, **plan))
        return sorted({path.rpartition("/")[2] for path in answer["videos"]})[0]

    assert films() == "backward.mp4"
    assert films(terrains=["mattress"], push_n_s=1.0) == "backward-mattress-pushed.mp4"
    assert (learned / "report" / "backward.mp4").is_file()


def test_a_film_of_a_roll_out_that_goes_wrong_is_thrown_away(learned, monkeypatch):
    def broken(*arguments, **more):
        watch = arguments[6](rig, "forward")
        assert watch is not None
        raise RobotError("the twin can't stand up")

    run = RunFolder.open(learned)
    rig = make_twin(run.config, 0)
    monkeypatch.setattr("walkhome.robot.evaluation.evaluate.roll_out", broken)
    with pytest.raises(RobotError):
        evaluate(learned, EvaluationPlan(episodes=1, seconds=1.0, video=True))
    rig.robot.close()
    assert list((learned / "report").iterdir()) == []

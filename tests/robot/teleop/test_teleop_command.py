# SPDX-License-Identifier: MIT
"""The command `robot teleop`: a script from beginning to end, and every refusal."""

import json

import pybullet
import pytest
from typer.testing import CliRunner

from walkhome.learning.policy import load_policies, save_policies
from walkhome.robot.cli.app import app
from walkhome.robot.config.resolve import config_to_yaml


def invoke(*arguments):
    return CliRunner().invoke(app, ["teleop", *(str(argument) for argument in arguments)])


def test_a_script_is_driven_from_beginning_to_end(learned):
    script = "forward 0.6s, left 0.4s, stop 0.2s, settle 0.8s, right 0.4s"
    result = invoke(learned, "--script", script, "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    switches = [(line["from"], line["to"]) for line in lines if line["event"] == "switch"]
    ways = [("stand", "forward"), ("forward", "left"), ("left", "stand"), ("stand", "right")]
    assert switches == ways
    assert [line["event"] for line in lines].count("stand_up") == 2
    end = lines[-1]
    assert end["event"] == "end"
    assert end["driven_s"] == pytest.approx(2.4, abs=0.03)
    assert (end["switches"], end["falls"], end["settles"]) == (4, 0, 1)


def test_a_drive_is_filmed(learned, tmp_path):
    film = tmp_path / "drive.mp4"
    result = invoke(learned, "--script", "forward 0.1s", "--video", film)
    assert result.exit_code == 0, result.output
    assert film.stat().st_size > 3_000
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".mp4"] == ["drive.mp4"]


def test_the_same_script_is_the_same_drive(learned):
    first, again, other = (
        invoke(learned, "--script", "forward 0.3s", "--json", "--seed", seed).stdout
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.count("\n") == 4
    assert other.count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--script", "jump 3s"], "'jump' was not learned in this run"),
        (["--script", "forward"], 'write "forward 3s'),
        (["--script", "nope.txt"], "nope.txt: No such file"),
        (["--script", "forward 1s", "--gamepad"], "exclude each other"),
        (["--json"], "--json is for --script only"),
        (["--script", "forward 1s", "--video", "x.gif"], "ends in .mp4"),
        (["--script", "forward 1s", "--gui"], "no display"),
        (["--script", "forward 1s", "--bindings", "nope.yaml"], "no such file"),
        (["--script", "forward 1s", "--terrain", "lava"], "unknown terrain"),
        (["--script", "forward 1s", "--port", "/dev/none"], "no such port"),
        (["--script", "forward 1s", "--port", "/dev/null"], "not a serial port"),
        (["--script", "jump 1s", "--port", "/dev/none"], "'jump' was not learned"),
        (["--port", "/dev/none", "--terrain", "flat"], "--terrain is for the twin"),
        (["--port", "/dev/none", "--video", "x.mp4"], "--video is for the twin"),
        (["--port", "/dev/none", "--gui"], "--gui is for the twin"),
        (["--script", "forward 1s", "--set", "board.silence_s=0.2"], "is for --port only"),
        (["--script", "forward 1s", "--port", "x", "--set", "robot.kp=9"], "only keys of `board`"),
        (["--script", "forward 1s", "--port", "x", "--set", "board.x=9"], "unknown key"),
        (["--script", "forward 1s", "--seed", "-3"], "--seed"),
    ],
)
def test_bad_input_is_one_line_and_no_motion(learned, monkeypatch, arguments, part):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("walkhome.robot.teleop.controller.Teleop.run", lambda self: 1 / 0)
    result = invoke(learned, *arguments)
    assert result.exit_code == 2, result.output
    assert part in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_policies_that_do_not_fit_never_drive(learned, config, monkeypatch):
    monkeypatch.setattr("walkhome.robot.teleop.controller.Teleop.run", lambda self: 1 / 0)

    def refused():
        result = invoke(learned, "--script", "forward 1s")
        assert result.exit_code == 2, result.output
        return result.stderr

    path = learned / "policy.safetensors"
    policies, metadata = load_policies(path)
    save_policies(path, policies, {**metadata, "body": {**metadata["body"], "kp": 0.6}})
    assert "its body is" in refused()
    layout = {**metadata["observation"], "frames": 3}
    save_policies(path, policies, {**metadata, "observation": layout})
    assert "its observation is" in refused()
    save_policies(path, policies, {**metadata, "action_filter": {"order": 2, "cutoff_hz": 5.0}})
    assert "its action_filter is" in refused()
    del policies["left"]
    save_policies(path, policies, metadata)
    assert "no policy for left" in refused()
    path.write_bytes(path.read_bytes()[:1000])
    assert "cannot read policy" in refused()
    path.unlink()
    assert "there is no policy yet" in refused()
    (learned / "config.yaml").unlink()
    assert "not a run folder" in refused()


def test_a_run_with_two_tasks_can_be_driven(learned, config):
    two = config.model_copy(update={"tasks": ("forward", "backward")})
    (learned / "config.yaml").write_text(config_to_yaml(two))
    assert invoke(learned, "--script", "backward 0.1s").exit_code == 0
    result = invoke(learned, "--script", "left 1s")
    assert result.exit_code == 2
    assert "there are forward, backward, stop" in result.stderr


def test_a_display_that_does_not_answer_is_refused_before_pybullet_sees_it(learned, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":7777")
    result = invoke(learned, "--gui")  # PyBullet would end the process itself
    assert result.exit_code == 2
    assert "DISPLAY=:7777 does not answer" in result.stderr


def test_a_closed_window_ends_with_one_line(learned, monkeypatch):
    """Closing PyBullet's window ends its simulation, so there is no robot left to settle."""
    monkeypatch.setattr("walkhome.sim.twin.pybullet.GUI", pybullet.DIRECT)
    monkeypatch.setattr("walkhome.robot.cli.requirements._display_answers", lambda: True)
    monkeypatch.setattr("walkhome.robot.teleop.twin.PacedClock", lambda clock: clock)
    calls = []

    def follow(client, place_m):
        calls.append(client)
        if len(calls) == 4:
            pybullet.disconnect(physicsClientId=client)

    monkeypatch.setattr("walkhome.robot.teleop.twin.follow_in_window", follow)
    result = invoke(learned, "--script", "forward 30s", "--gui")
    assert result.exit_code == 1, result.output
    assert "was its window closed?" in result.stderr
    assert result.stderr.count("\n") == 1

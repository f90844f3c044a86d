# SPDX-License-Identifier: MIT
"""The command: what it hands over and how it refuses; learning and evaluation are stand-ins."""

import json
import os
import signal
import subprocess
import sys
import time
from types import ModuleType

import pytest
from fake_run import make_fake_run
from typer.testing import CliRunner

from walkhome.hardware.robot import LinkLost
from walkhome.robot.cli.app import app
from walkhome.robot.cli.stop_signal import StopSignal

SUMMARY = {
    "status": "done",
    "robot_minutes": {"total": 1.5},
    "falls": 2,
    "human_resets": 0,
    "tasks": {"forward": {"episodes": 3, "speed_m_s": 0.25}, "backward": {"episodes": 4}},
}


@pytest.fixture
def calls(monkeypatch):
    """Stand-ins for the loop and the evaluation, and what they were called with."""
    seen = {"summary": SUMMARY, "raise": None}

    def learn(config, run, view, stop, resume=False):
        seen.update(config=config, run=run, stop=stop.requested, resume=resume)
        run.event("learn_start")
        if seen["raise"] is not None:
            raise seen["raise"]
        return seen["summary"]

    def evaluate(run, plan, progress):
        seen.update(run=run, plan=plan)
        if seen["raise"] is not None:
            raise seen["raise"]
        return seen.get("answer", {"tasks": SUMMARY["tasks"]})

    module = ModuleType("walkhome.robot.training.train")
    module.learn = learn
    monkeypatch.setitem(sys.modules, "walkhome.robot.training.train", module)
    monkeypatch.setattr("walkhome.robot.evaluation.evaluate.evaluate", evaluate)
    return seen


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    """The one line with which a command line is refused."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_learn_hands_over_what_was_asked(calls, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("learning: {tau: 0.01}\n")
    result = invoke(
        *("learn", "--terrain", "mattress", "--tasks", "left, right", "--minutes", 3),
        *("--seed", 5, "--config", file, "--set", "learning.batch_size=64"),
        *("--set", "run.minutes=4", "--run-dir", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.output
    config = calls["config"]
    assert (config.terrain.name, config.tasks) == ("mattress", ("left", "right"))
    assert (config.run.minutes, config.run.seed) == (4, 5)
    assert (config.learning.tau, config.learning.batch_size) == (0.01, 64)
    assert not calls["stop"]
    assert f"run folder: {tmp_path / 'run'}" in result.stdout
    assert f"robot report {tmp_path / 'run'}" in result.stdout
    assert "1.5 robot minutes, 2 falls" in result.stdout
    assert (tmp_path / "run" / "config.yaml").is_file()
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["argv"] == sys.argv


def test_learn_speaks_json_only_when_asked_to(calls, tmp_path):
    result = invoke("learn", "--json", "--run-dir", tmp_path / "run")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0] == {"event": "message", "text": f"run folder: {tmp_path / 'run'}"}
    assert lines[-1] == {"event": "summary", "run": str(tmp_path / "run"), **SUMMARY}


@pytest.mark.parametrize(
    ("status", "code"), [("done", 0), ("interrupted", 130), ("needs_help", 3), ("failed", 1)]
)
def test_the_exit_code_tells_how_a_run_ended(calls, tmp_path, status, code):
    calls["summary"] = {**SUMMARY, "status": status}
    assert invoke("learn", "--run-dir", tmp_path / "run").exit_code == code


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (LinkLost("no answer"), "no answer"),
        (FloatingPointError("diverged"), "diverged"),
        (OSError(28, "Disk is full", "events.jsonl"), "events.jsonl: disk is full"),
    ],
)
def test_what_goes_wrong_on_the_way_is_one_line_and_exit_1(calls, tmp_path, error, line):
    calls["raise"] = error
    result = invoke("learn", "--run-dir", tmp_path / "run")
    assert result.exit_code == 1
    assert result.stderr == f"error: {line}\n"


def test_resume_hands_over_the_run(calls, tmp_path):
    invoke("learn", "--run-dir", tmp_path / "run", "--minutes", 3, "--seed", 7)
    calls["summary"] = {**SUMMARY, "status": "interrupted"}
    result = invoke("learn", "--resume", tmp_path / "run", "--minutes", 5)
    assert result.exit_code == 130
    assert calls["resume"]
    assert (calls["config"].run.minutes, calls["config"].run.seed) == (5, 7)
    assert f"resume with: robot learn --resume {tmp_path / 'run'}" in result.stdout
    made = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert len(made["resumed"]) == 1


def test_resume_refuses_what_it_cannot_do(calls, tmp_path):
    run = tmp_path / "run"
    assert "no such run folder" in refused("learn", "--resume", run)
    invoke("learn", "--run-dir", run, "--minutes", 3)
    assert "takes everything from the run" in refused("learn", "--resume", run, "--seed", 1)
    assert "--minutes" in refused("learn", "--resume", run, "--minutes", -1)
    total = {"robot_minutes": {"total": 3.01}, "status": "done"}
    (run / "summary.json").write_text(json.dumps(total))
    assert "give it more with --minutes" in refused("learn", "--resume", run)
    (run / "provenance.json").write_text("garbage")
    assert "can't be resumed" in refused("learn", "--resume", run, "--minutes", 5)


def test_a_defect_keeps_its_traceback(calls, tmp_path):
    calls["raise"] = KeyError("bug")
    result = invoke("learn", "--run-dir", tmp_path / "run")
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--terrain", "lava"], "doormat, flat, mattress"),
        (["--terrain", "./nope.yaml"], "no such file"),
        (["--tasks", "forward"], "lacks its opposite 'backward'"),
        (["--tasks", "foward,backward"], "did you mean 'forward'?"),
        (["--tasks", ""], "tasks"),
        (["--set", "learning.batchsize=1"], "did you mean 'learning.batch_size'?"),
        (["--set", "learning.batch_size=0"], "learning.batch_size = 0"),
        (["--set", "x"], "key=value"),
        (["--set", "workspace.half_width_m=0.1"], "smaller than the robot"),
        (["--minutes", "nan"], "finite"),
        (["--minutes", "-1"], "greater than 0"),
        (["--minutes", "soon"], "--minutes"),
        (["--seed", "-1"], "run.seed"),
        (["--seed", "1.5"], "--seed"),
        (["--config", "nope.yaml"], "no such file"),
        (["--nonsense"], "--nonsense"),
        (["extra"], "extra"),
    ],
)
def test_bad_input_to_learn_is_one_line_and_writes_nothing(
    calls, tmp_path, monkeypatch, arguments, part
):
    monkeypatch.chdir(tmp_path)
    assert part in refused("learn", *arguments)
    assert not list(tmp_path.iterdir())
    assert "config" not in calls


def test_an_existing_run_is_never_touched(calls, tmp_path):
    (tmp_path / "x").write_text("precious")
    assert "exists already" in refused("learn", "--run-dir", tmp_path)
    assert "a file is there" in refused("learn", "--run-dir", tmp_path / "x")
    assert (tmp_path / "x").read_text() == "precious"


def test_an_unwritable_place_is_refused(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "can't be written" in refused("learn", "--run-dir", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("device_says", "words"),
    [("print('PyTorch finds no CUDA device')", "no CUDA device"), ("1 / 0", "ZeroDivisionError")],
)
def test_without_the_learners_device_it_says_so_and_writes_nothing(
    calls, tmp_path, monkeypatch, device_says, words
):
    run = subprocess.run
    monkeypatch.setattr(
        "walkhome.robot.cli.requirements.subprocess.run",
        lambda command, **options: run([*command[:2], device_says], **options),
    )
    folder = tmp_path / "run"
    assert words in refused("learn", "--set", "learning.device=cuda", "--run-dir", folder)
    assert not list(tmp_path.iterdir())


def test_without_pybullet_it_says_what_to_install(calls, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)
    message = refused("learn", "--run-dir", tmp_path / "run")
    assert "3.10 and 3.11" in message
    assert 'pip install "walkhome[sim]"' in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "RUN"),
        (["nonsense"], "No such command 'nonsense'"),
        (["eval"], "Missing argument 'RUN'"),
        (["eval", "/nope"], "no such run folder"),
        (["report", "/nope"], "no such run folder"),
        (["report", "/"], "not a run folder"),
        (["config", "nonsense"], "nonsense"),
    ],
)
def test_other_bad_input_is_one_line(arguments, part):
    if arguments:
        assert part in refused(*arguments)
    else:
        result = invoke()
        assert result.exit_code == 2
        assert "Usage: " in result.stdout


def test_eval_hands_over_and_prints(calls, tmp_path):
    run = make_fake_run(tmp_path / "run", episodes=1)
    result = invoke(
        "eval", run.path, "--terrain", "flat", "--episodes", 3, "--seconds", 2, "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"tasks": SUMMARY["tasks"]}
    assert calls["run"] == run.path
    plan = calls["plan"]
    assert (plan.terrains, plan.episodes, plan.seconds) == (["flat"], 3, 2.0)
    assert not plan.film  # the report shows the terrain that was learned on
    lines = invoke("eval", run.path).stdout.splitlines()
    assert lines[0].split() == ["task", "episodes", "speed_m_s"]
    assert lines[1].split() == ["forward", "3", "0.250"]
    assert calls["plan"].film


def test_eval_prints_intervals_and_a_table_per_terrain(calls, tmp_path):
    task = {
        **{"speed_m_s": 0.4, "turn_rate_rad_s": 0.01, "cost_of_transport": None, "falls": 1},
        **{"exits": 0, "episodes": 5, "interval95": {"speed_m_s": [0.35, 0.45]}},
    }
    tables = {"flat": {"forward": task}, "mattress": {"forward": {**task, "falls": 3}}}
    calls["answer"] = {"learned_on": "flat", "terrains": tables, "tasks": tables["flat"]}
    run = make_fake_run(tmp_path / "run", episodes=1)
    text = invoke("eval", run.path, "--terrain", "flat, mattress", "--push", 2).stdout
    assert calls["plan"].terrains == ["flat", "mattress"]
    assert calls["plan"].push_n_s == 2.0
    assert "flat (learned here)\n" in text
    assert "\nmattress\n" in text
    assert "0.400 [0.350, 0.450]" in text
    assert text.splitlines()[2].split()[-1] == "-"
    assert "95 % interval" in text


@pytest.mark.parametrize(
    "arguments", [["--episodes", "0"], ["--seconds", "nan"], ["--push", "nan"]]
)
def test_eval_refuses_what_it_cannot_do(calls, tmp_path, arguments):
    run = make_fake_run(tmp_path / "run", episodes=1)
    assert arguments[0] in refused("eval", run.path, *arguments)
    assert "run" not in calls


def test_eval_tells_of_a_policy_that_cannot_be_used(calls, tmp_path):
    from walkhome.learning.policy import PolicyInvalid

    run = make_fake_run(tmp_path / "run", episodes=1)
    calls["raise"] = PolicyInvalid("policy.safetensors: torn")
    assert "torn" in refused("eval", run.path)


def test_report_prints_where_it_is(tmp_path, monkeypatch):
    from walkhome.robot.report.figures import FIGURES

    monkeypatch.setattr("walkhome.robot.report.page.FIGURES", {"falls": FIGURES["falls_over_time"]})
    run = make_fake_run(tmp_path / "run", episodes=3)
    result = invoke("report", run.path)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(run.path / "report" / "report.html")
    (run.path / "events.jsonl").write_text("garbage\n")
    assert "events.jsonl:1" in refused("report", run.path)


def test_report_without_its_libraries(tmp_path, monkeypatch):
    run = make_fake_run(tmp_path / "run", episodes=1)
    for name in [name for name in sys.modules if name.startswith("walkhome.robot.report.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "walkhome[report]"' in refused("report", run.path)


def test_config_show_is_a_configuration_file(tmp_path):
    result = invoke("config", "show", "--terrain", "mattress", "--set", "run.seed=3")
    path = tmp_path / "config.yaml"
    path.write_text(result.stdout)
    again = invoke("config", "show", "--config", path)
    assert result.exit_code == again.exit_code == 0
    assert again.stdout == result.stdout


def test_config_show_tells_origins():
    lines = invoke("config", "show", "--origin", "--seed", 4, "--set", "run.minutes=2").stdout
    rows = {line.split()[0]: line.split(None, 2)[1:] for line in lines.splitlines()}
    assert rows["run.seed"] == ["4", "--seed"]
    assert rows["run.minutes"] == ["2.0", "--set run.minutes=2"]
    assert rows["learning.tau"][1] == "default"
    assert "unknown terrain" in refused("config", "show", "--terrain", "lava")


def test_version_and_help():
    assert invoke("--version").stdout.startswith("walkhome 0.")
    for arguments in (
        [],
        ["learn"],
        ["eval"],
        ["replay"],
        ["teleop"],
        ["report"],
        ["config"],
        ["config", "show"],
    ):
        for flag in ("-h", "--help"):
            result = invoke(*arguments, flag)
            assert result.exit_code == 0
            assert result.stdout.startswith("Usage: ")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom walkhome.robot.cli.app import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'scipy', 'pybullet', 'numpy', 'matplotlib', 'rich.live', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    for arguments in (["--help"], ["learn", "--help"], ["teleop", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert "Usage: " in done.stdout
        assert done.stderr.strip() == "[]"


def test_the_first_signal_asks_and_the_second_insists():
    before = signal.getsignal(signal.SIGINT)
    with StopSignal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


LEARN_UNTIL_STOPPED = """
import sys, time
from types import ModuleType
module = ModuleType("walkhome.robot.training.train")
def learn(config, run, view, stop, resume=False):
    view.message("learning")
    while not stop.requested or "stubborn" in sys.argv:
        time.sleep(0.01)
    return {"status": "interrupted"}
module.learn = learn
sys.modules["walkhome.robot.training.train"] = module
from walkhome.robot.cli.app import app
app(["learn", "--run-dir", sys.argv[1]])
"""


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGHUP], [signal.SIGINT] * 2])
def test_signals_end_a_run_with_130(tmp_path, signals):
    stubborn = ["stubborn"] if len(signals) > 1 else []
    command = [sys.executable, "-c", LEARN_UNTIL_STOPPED, tmp_path / "run", *stubborn]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "learning" not in process.stdout.readline():
            assert process.poll() is None
        for number in signals:
            process.send_signal(number)
            time.sleep(0.2)  # two that arrive together count as one
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert ("interrupted" in out) == (not stubborn)


@pytest.mark.parametrize("nohup", [False, True])
def test_a_hangup_that_is_ignored_does_not_end_a_run(nohup):
    """As after `nohup robot learn`: the terminal goes, the run stays; it can still be stopped."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is not nohup
            if nohup:
                os.kill(os.getpid(), signal.SIGTERM)
                assert stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)

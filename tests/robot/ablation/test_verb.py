# SPDX-License-Identifier: MIT
"""`robot ablate`: what it refuses before anything starts, what it prints, how it ends."""

import json
import os
import shutil

import pytest
from small_study import SMALL, made_up, write_study
from typer.testing import CliRunner

from walkhome.robot.ablation.engine import FAILED, FINISHED, STARTED, LocalEngine, failure_reason
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.progress import ProgressView
from walkhome.robot.ablation.study import load_study
from walkhome.robot.cli.app import app


def invoke(*arguments):
    return CliRunner().invoke(app, ["ablate", *(str(argument) for argument in arguments)])


@pytest.fixture
def no_engine(monkeypatch):
    """Fail the test if an engine starts a run."""

    def run(self, *arguments):
        raise AssertionError("a run was started")

    monkeypatch.setattr(LocalEngine, "run", run)


def refused(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["safty"], "did you mean 'safety'"),
        (["safety", "--engine", "rey"], "use local or ray; did you mean 'ray'"),
        (["safety", "--address", "10.0.0.1:6379"], "add --engine ray"),
        (["safety", "--seeds", "1"], "one seed carries no claim"),
        (["safety", "--minutes", "nan"], "--minutes"),
        (["safety", "--minutes", "0"], "--minutes"),
        (["safety", "--set", "learning.tua=1"], "did you mean 'learning.tau'"),
        (["safety", "--set", "stand_up.pause_s"], "write it as key=value"),
        (["safety", "--set", "reward.side_penalty=1.0"], "no run uses it"),
        (["safety", "--engine", "ray", "--address", "127.0.0.1:1"], "nothing answers there"),
        (["safety", "--seeds", "0"], "--seeds"),
    ],
)
def test_bad_input_starts_nothing(no_engine, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*arguments)
    assert not any(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused_and_left_alone(no_engine, tmp_path):
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("data")
    assert "something other than a study" in refused(study, "--out", out)
    (out / "study.yaml").write_text("study: other\n")
    assert "belongs to the study 'other'" in refused(study, "--out", out)
    (out / "study.yaml").write_text("study: [")
    assert "study.yaml" in refused(study, "--out", out)
    assert (out / "precious").read_text() == "data"
    file = tmp_path / "file"
    file.write_text("")
    assert "choose another --out" in refused(study, "--out", file)


def test_runs_with_other_settings_are_refused(no_engine, tmp_path):
    folder = made_up(tmp_path)
    mine, out = tmp_path / "mine.yaml", folder.path
    said = refused(mine, "--out", out, "--minutes", "3")
    assert "has run.minutes = 8.0, this study has 3.0" in said
    said = refused(mine, "--out", out, "--set", "learning.batch_size=64")
    assert "has learning.batch_size = 128, this study has 64" in said


def test_a_changed_study_is_refused(no_engine, tmp_path):
    folder, mine = made_up(tmp_path, seeds=2), tmp_path / "mine.yaml"
    text = mine.read_text()
    mine.write_text(text.replace(", three: {learning.tau: 0.5}", ""))
    said = refused(mine, "--out", folder.path, "--seeds", 2)
    assert "the folder has runs of 'three', which is not a variant" in said
    mine.write_text(text.replace("[flat, mattress]", "[flat]"))
    assert "its runs were evaluated with" in refused(mine, "--out", folder.path, "--seeds", 2)


def test_a_study_that_another_process_runs_is_refused(no_engine, tmp_path):
    folder = made_up(tmp_path, seeds=2)
    with folder:
        said = refused(tmp_path / "mine.yaml", "--out", folder.path, "--seeds", 2)
    assert f"process {os.getpid()} " in said


def test_finished_runs_are_not_repeated(no_engine, tmp_path, monkeypatch):
    monkeypatch.setattr("walkhome.robot.ablation.page.FIGURES", {})
    folder = made_up(tmp_path)
    result = invoke(tmp_path / "mine.yaml", "--out", folder.path)
    assert result.exit_code == 0, result.output
    assert "15 of 15 runs have a result" in result.stdout
    assert "one has higher speed than two" in result.stdout
    assert str(folder.path / "report" / "index.html") in result.stdout
    # Fewer seeds than there are: none is dropped.
    result = invoke(tmp_path / "mine.yaml", "--out", folder.path, "--seeds", 2, "--json")
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["exit_code"], len(summary["runs"])) == (0, 15)


def test_results_are_published_only_when_complete(no_engine, tmp_path, monkeypatch):
    monkeypatch.setattr("walkhome.robot.ablation.page.FIGURES", {})
    folder = made_up(tmp_path)
    target = tmp_path / "results.md"
    arguments = (tmp_path / "mine.yaml", "--out", folder.path, "--results", target)
    assert invoke(*arguments).exit_code == 0
    assert "one has higher speed than two" in target.read_text()
    target.unlink()
    assert "seeds are too few" in refused(
        tmp_path / "mine.yaml", "--out", tmp_path / "new", "--seeds", 2, "--results", target
    )
    assert not target.exists()


class Engine:
    """Stands in for processes; the runs of the second variant fail."""

    def run(self, folder, jobs, stop, listener):
        for job in jobs:
            listener.change(job, STARTED)
            listener.tick()
            if job.variant == "two":
                folder.note_failure(job, "the learner diverged")
                listener.change(job, FAILED, "the learner diverged")
            else:
                listener.change(job, FINISHED)
                shutil.copytree(self.done / job.folder, folder.run_of(job))


def test_a_failing_run_stops_no_other_and_sets_the_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr("walkhome.robot.ablation.page.FIGURES", {})
    Engine.done = made_up(tmp_path, seeds=2).path
    monkeypatch.setattr(LocalEngine, "run", Engine.run)
    monkeypatch.setattr(LocalEngine, "done", Engine.done, raising=False)
    result = invoke(tmp_path / "mine.yaml", "--out", tmp_path / "new", "--seeds", 2)
    assert result.exit_code == 1, result.output
    assert "two-s0 failed: the learner diverged" in result.stdout
    assert "one-s1 finished" in result.stdout
    assert "three-s1 finished" in result.stdout
    assert "failed: two-s1: the learner diverged" in result.stderr
    assert "4 of 6 runs have a result" in result.stdout


def test_results_that_can_not_be_written_are_refused_before_the_runs(no_engine, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for target in ("folder", "file/results.md"):
        result = invoke("safety", "--results", tmp_path / target, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert "no Markdown file can be written there" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_runs_and_a_time_and_writes_nothing(no_engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("safety", "--dry-run", "--jobs", 2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 9 * 5 + 1, "variants by seeds, and the time"
    assert lines[0].startswith("pid-s100")
    assert "45 of 45 runs to do, 2 at once: about " in lines[-1]
    assert not any(tmp_path.iterdir())


def test_the_list_describes_the_studies(no_engine):
    result = invoke("list")
    assert result.exit_code == 0
    assert "multitask: Does the task scheduler" in result.stdout
    assert (
        "scheduler, scheduler-margin, no-scheduler, forward-alone, backward-alone" in result.stdout
    )
    assert "5 seeds, 8 robot minutes: 25 runs" in result.stdout


def test_progress_shows_runs_done_and_time_left(tmp_path, monkeypatch, capsys):
    study = load_study(write_study(tmp_path, SMALL), 1, claims=False)
    folder = StudyFolder(tmp_path / "out", study)
    one, two = folder.jobs
    clock = [100.0]
    with ProgressView(folder, folder.jobs, now_s=lambda: clock[0]) as view:
        view.change(one, STARTED)
        view.tick()
        run = folder.run_of(one)
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text('{"robot_s": 6.0}\n{"robot_s": 15.0}\n{"rob')
        clock[0] += 60.0
        view.tick()
        view.change(one, FINISHED)
        view.change(two, STARTED)
        view.change(two, FAILED, "it broke")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "one-s0 started"
    # 0.25 of 1.7 minutes (an evaluation counts as 0.6) in a minute: 1.45 are left.
    assert lines[2] == "progress: 0 of 2 runs, about 5:48 left"
    assert lines[-1] == "two-s0 failed: it broke"
    assert view.counts == {FINISHED: 1, FAILED: 1}


def test_the_reason_of_a_failed_process(tmp_path):
    log = tmp_path / "log"
    assert failure_reason(-9, log) == f"killed by signal 9; see {log}"
    assert failure_reason(1, log) == "it printed nothing (exit code 1)"
    log.write_text("resuming\nerror: the learner diverged\n\n")
    assert failure_reason(1, log) == "the learner diverged (exit code 1)"

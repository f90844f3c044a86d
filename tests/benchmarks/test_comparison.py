# SPDX-License-Identifier: MIT
"""`benchmarks/learn.py --compare`: its study, its table, and what it keeps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import make_fake_run

from walkhome.robot.ablation.engine import COMMAND
from walkhome.robot.ablation.results import Results
from walkhome.robot.config.resolve import config_to_yaml

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WAYS = ["ours", "plain", "paper", "updates-1", "updates-2", "updates-8", "pipelined",
        "crossq", "sb3", "sb3-updates-2"]  # fmt: skip


@pytest.fixture
def comparison(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import comparison

    return comparison


@pytest.fixture
def made_up(comparison, tmp_path):
    """Made-up comparison: two variants with five runs each; ours walks 0.2 m/s faster."""
    folder = comparison.study_folder(tmp_path, 5, None, quick=False)
    for job in folder.jobs:
        if job.variant not in ("ours", "sb3"):
            continue
        run = folder.run_of(job)
        make_fake_run(run, episodes=8, seed=job.seed, journal=False)
        (run / "config.yaml").write_text(config_to_yaml(job.config))
        speed = {"ours": 0.5, "sb3": 0.3}[job.variant] + 0.01 * job.seed
        task = {"speed_m_s": speed, "turn_rate_rad_s": 0.0, "falls": 1, "episodes": 5}
        tasks = {"tasks": {"forward": task, "backward": task}}
        terrains = {job.config.terrain.name: tasks}
        (run / "evaluation.json").write_text(json.dumps({"terrains": terrains}))
    return folder


def test_all_learn_on_the_same_ground_for_the_same_time(comparison, tmp_path):
    folder = comparison.study_folder(tmp_path, 5, None, quick=False)
    configs = folder.study.configs
    assert list(configs) == WAYS
    apart = {"learning", "constraint"}
    one = configs["ours"].model_dump(exclude=apart)
    assert all(config.model_dump(exclude=apart) == one for config in configs.values())
    assert one["run"]["minutes"] == 8.0
    sb3 = configs["sb3"].learning
    assert (sb3.learning_rate, sb3.batch_size, sb3.discount, sb3.tau) == (3e-4, 256, 0.99, 0.005)
    for job in folder.jobs:
        sb3, crossq = job.variant.startswith("sb3"), job.variant == "crossq"
        assert (comparison.command_of(job) == COMMAND) == (not sb3 and not crossq)
        assert sb3 == ("sb3_job" in comparison.command_of(job)[-1])
        assert crossq == ("crossq_job" in comparison.command_of(job)[-1])


def test_the_table_shows_the_finished_runs(comparison, made_up, capsys, tmp_path):
    comparison.report(made_up, tmp_path)
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("| `")]
    assert [row[0].strip() for row in rows] == ["`ours`", "`sb3`"]
    assert rows[0][4].strip().startswith("0.52 (")  # seeds 1 to 3 of 0.50 to 0.54
    assert rows[1][4].strip().startswith("0.32 (")
    summaries = [json.loads((made_up.run_of(j) / "summary.json").read_text())
                 for j in made_up.jobs if j.variant == "ours"]  # fmt: skip
    falls = sorted(summary["falls"] for summary in summaries)[1:4]
    assert float(rows[0][5].split()[0]) == round(sum(falls) / 3)
    assert (tmp_path / "learning_curves.png").stat().st_size > 1000
    assert (tmp_path / "table.md").read_text().strip() in printed


def test_a_finished_run_is_not_made_again(comparison, made_up, monkeypatch):
    asked = []

    class Engine:
        def __init__(self, at_once, command_of):
            pass

        def run(self, folder, jobs, stop, listener):
            asked.extend(job.variant for job in jobs)

    unfinished = next(job for job in made_up.jobs if job.variant == "sb3" and job.seed == 4)
    (made_up.run_of(unfinished) / "evaluation.json").unlink()
    monkeypatch.setattr(comparison, "LocalEngine", Engine)
    assert comparison.run(made_up, ["ours", "sb3"], 2) == []
    assert asked == ["sb3"]
    assert not made_up.run_of(unfinished).exists()  # it can't resume
    assert len(Results.read(made_up).runs_with_metrics("sb3")) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "--variants", "ours,theirs"], "'theirs' is none of ours, plain"),
        (["--compare", "--set", "run.seed=3"], "settings of its own"),
        (["--variants", "ours"], "is of --compare"),
    ],
)
def test_what_it_can_not_do_is_refused(tmp_path, arguments, said):
    command = [sys.executable, BENCHMARKS / "learn.py", *arguments, "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.rglob("runs"))

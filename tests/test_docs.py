# SPDX-License-Identifier: MIT
"""What the documents show works as shown."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from walkhome.robot.ablation.metric_names import CURVES, METRICS
from walkhome.robot.ablation.study import load_study, shipped
from walkhome.robot.cli.app import app
from walkhome.robot.storage.journal import RECORD, read_journal
from walkhome.robot.storage.journal_writer import JournalWriter

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"


def test_the_example_reads_a_journal_with_numpy_alone(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "first-walk" / "journal"
    empty = {name: np.zeros(RECORD[name].shape) for name in RECORD.names if name != "index"}
    with JournalWriter(folder) as writer:
        for step in range(7):
            writer.append(**{**empty, "step": step, "pose": (1.0, 2.0, step)})
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "run-folder.md").read_text(), re.S)
    code = [
        line for line in example.splitlines() if line and not line.startswith(("import", "from"))
    ]
    assert len(code) <= 10
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    known = read_journal(folder).records
    for name in RECORD.names:
        np.testing.assert_array_equal(names["records"][name], known[name])


def test_every_command_that_is_shown_has_the_options_that_are_shown():
    seen = 0
    for path in (REPOSITORY / "README.md", *DOCS.glob("*.md")):
        for block in re.findall(r"```\n(.*?)```", path.read_text(), re.S):
            for line in block.splitlines():
                if not re.match(r"robot [a-z]", line):  # else it is what a command prints
                    continue
                words = shlex.split(line, comments=True)[1:]
                verb = words[:2] if words[0] == "config" else words[:1]
                text = CliRunner().invoke(app, [*verb, "--help"]).stdout
                options = [word for word in words if word.startswith("--")]
                assert text.startswith("Usage: "), line
                assert [option for option in options if option not in text] == [], line
                seen += 1
    assert seen > 15


def test_the_example_of_a_study_is_one_and_every_metric_is_named(tmp_path):
    text = (DOCS / "ablations.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    path = tmp_path / "my-study.yaml"
    path.write_text(example)
    study = load_study(str(path))
    assert study.configs["large-batch"].learning.batch_size == 512
    assert study.comparisons == 2
    section = text[text.index("Metrics: ") : text.index("A key that no run uses")]
    metrics, curves = section.split("Curves: ")
    assert set(re.findall(r"`(\w+)`", metrics)) == set(METRICS)
    assert set(re.findall(r"`(\w+)`", curves)) == set(CURVES)
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    assert named == set(shipped())


def test_the_example_of_the_environment_learns():
    pytest.importorskip("stable_baselines3")
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "gymnasium.md").read_text(), re.S)
    assert "total_timesteps=10_000" in example
    assert len(example.splitlines()) <= 14
    told = []
    # As shown, but for its length: 150 steps are beyond SAC's first, random hundred.
    exec(example.replace("10_000", "150"), {"print": told.append})
    (line,) = told
    assert re.fullmatch(r"0\.1 robot minutes, \d+ falls, 0 times a person helped", line)

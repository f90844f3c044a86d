# SPDX-License-Identifier: MIT
"""What the documents show works as shown."""

import re
from pathlib import Path

import numpy as np

from robot.ablation.metric_names import CURVES, METRICS
from robot.ablation.study import load_study, shipped
from robot.journal import RECORD, read_journal
from robot.journal_writer import JournalWriter

DOCS = Path(__file__).parents[2] / "docs"


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

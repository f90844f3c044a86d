# SPDX-License-Identifier: MIT
"""What the documents show works as shown."""

import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from walkhome.robot.ablation.metric_names import CURVES, METRICS
from walkhome.robot.ablation.study import load_study, shipped
from walkhome.robot.cli.app import app
from walkhome.robot.config.resolve import leaves, resolve_config
from walkhome.robot.storage.journal import RECORD, read_journal
from walkhome.robot.storage.journal_writer import JournalWriter

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
FOLDERS = (
    "robot", "sim", "safety", "learning", "hardware", "native", "firmware", "configs",
    "benchmarks", "docs", "tests"
)  # fmt: skip


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
    assert study.n_comparisons == 2
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


def missing_paths(text):
    """Paths of the repository that a text names between backticks or in a code block, and lacks."""
    code = re.findall(r"```\w*\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text)
    named = re.findall(rf"(?<![\w./~-])(?:{'|'.join(FOLDERS)})/[\w./-]*", "\n".join(code))
    return sorted({path for path in named if not (REPOSITORY / path.rstrip(".")).exists()})


def test_a_path_that_does_not_exist_is_found():
    text = "See `robot/tasks.py`, `robot/mdp/` and\n```\npython benchmarks/none.py --quick\n```\n"
    assert missing_paths(text) == ["benchmarks/none.py", "robot/tasks.py"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    assert missing_paths(page.read_text()) == []


def test_every_benchmark_that_is_shown_has_the_options_that_are_shown():
    seen = 0
    for page in PAGES:
        for name, rest in re.findall(r"python (benchmarks/\w+\.py)([^`\n]*)", page.read_text()):
            script = (REPOSITORY / name).read_text()
            for option in re.findall(r"(?<!\w)--?[a-z_]+(?:-\w+)*", rest.partition("#")[0]):
                assert f'"{option}"' in script, f"{page.name}: {name} {option}"
                seen += 1
    assert seen > 5


def test_every_page_that_the_code_names_exists():
    named = set()
    for folder in FOLDERS[:8]:
        for path in (REPOSITORY / folder).rglob("*.*"):
            if path.suffix in (".py", ".c", ".h", ".html", ".md"):
                named.update(re.findall(r"\bdocs/[\w-]+\.md", path.read_text()))
    assert len(named) > 5
    assert [page for page in sorted(named) if not (REPOSITORY / page).is_file()] == []


def anchors(text):
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page, text):
    """Links of a page to files or headings that don't exist."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.is_file() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    return broken


def test_a_link_that_leads_nowhere_is_found():
    text = "[a](method.md#one-update) [b](method.md#two-updates) [c](none.md) ![d](images/no.png)"
    assert broken_links(DOCS / "x.md", text) == [
        "method.md#two-updates",
        "none.md",
        "images/no.png",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page, page.read_text()) == []


def test_the_readme_names_every_page():
    named = set(re.findall(r"`docs/([\w-]+\.md)`", (REPOSITORY / "README.md").read_text()))
    assert named == {page.name for page in DOCS.glob("*.md")}


def test_every_page_says_whom_it_is_for():
    for page in DOCS.glob("*.md"):
        first = page.read_text().split("\n\n")[1]
        assert first.startswith("For a "), page.name


def test_the_defaults_are_those_of_the_program():
    settings = dict(leaves(resolve_config().config.model_dump(mode="json")))
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", (DOCS / "defaults.md").read_text(), re.M)
    assert len(rows) > 30
    for keys, value in rows:
        fraction = re.fullmatch(r"pi / (\d+)", value)
        said = math.pi / int(fraction[1]) if fraction else yaml.safe_load(value.strip("`"))
        for key in re.findall(r"`([\w.]+)`", keys):
            assert settings[key] == said, key


def test_every_sub_package_is_in_the_contributors_table():
    text = (DOCS / "development.md").read_text()
    listed = set(re.findall(r"^\| `([\w/]+)/` \|", text, re.M))
    found = {
        str(path.parent.relative_to(REPOSITORY))
        for folder in FOLDERS[:8]
        for path in (REPOSITORY / folder).rglob("__init__.py")
    }
    assert found <= listed


def test_the_floors_are_those_of_the_import_contract():
    project = (REPOSITORY / "pyproject.toml").read_text()
    contract = project[project.index('containers = ["walkhome.robot"]') :]
    floors = re.findall(r'^  "([\w |]+)",$', contract, re.M)[::-1]
    known = {room: n for n, floor in enumerate(floors, 1) for room in floor.split(" | ")}
    text = (DOCS / "development.md").read_text()
    rows = re.findall(r"^\| `robot/(\w+)(?:/|\.py)` \| (\d+) \|", text, re.M)
    assert {room: int(floor) for room, floor in rows} == known

# SPDX-License-Identifier: MIT
"""Tables, warnings and conclusion of a study's page, for made-up runs."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from small_study import made_up

from walkhome.robot.ablation.conclusion import conclude
from walkhome.robot.ablation.figures import learning_curves
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.page import write_page
from walkhome.robot.ablation.publish import publish
from walkhome.robot.ablation.results import Results
from walkhome.robot.storage.run_folder import RunError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(study):
    path, _ = write_page(study)
    return path.read_text()


@pytest.fixture
def bare(monkeypatch):
    """Write pages without figures, because drawing takes seconds."""
    monkeypatch.setattr("walkhome.robot.ablation.page.FIGURES", {})


def copied(study, tmp_path):
    """A copy of the study's folder that a test may damage."""
    shutil.copytree(study.path, tmp_path / "out")
    return StudyFolder(tmp_path / "out", study.study)


def test_the_conclusion_states_the_significant_differences(study):
    text = conclude(Results.read(study))
    assert text.startswith("Over n = 5 seeds, one has higher speed than two (+0.3")
    assert "98.75 % interval +0.2" in text
    assert "than three" not in text
    assert "no difference is shown in 3 of 4 comparisons" in text
    assert text.count(".\n") == 0


def test_every_curve_has_minutes_below_it(study):
    results = Results.read(study)
    of_three = results.study.file.model_copy(update={"curves": ["speed", "return", "falls"]})
    results = replace(results, study=replace(results.study, file=of_three))
    shown = [axis for axis in learning_curves(results, study).axes if axis.get_visible()]
    assert len(shown) == 3
    assert all(axis.xaxis.get_tick_params()["labelbottom"] for axis in shown)


def test_few_seeds_carry_no_claim(tmp_path):
    results = Results.read(made_up(tmp_path, seeds=2))
    assert conclude(results) == "No claim: n = 2 seeds; a claim needs at least 5."
    assert all(found.sign == 0 for found in results.comparisons.values())


def test_one_seed_is_shown_and_compared_with_nothing(bare, tmp_path):
    path, results = write_page(made_up(tmp_path, seeds=1))
    assert conclude(results) == "Nothing was compared, so there is no claim."
    assert "n = 1 of 1" in path.read_text()
    assert "Comparisons" not in path.read_text()


def test_the_page_stands_alone(page):
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    assert page.count('src="data:image/svg+xml;base64,') == 4
    assert "@media print" in page
    for id_ in ("table", "comparisons", "per_variant", "learning_curves", "workspaces", "runs"):
        assert f'id="{id_}"' in page


def test_everything_is_on_it(page, study):
    assert page.count("n = 5 of 5") == 3
    assert "Is one better than two?" in page
    assert "98.75 % each so that all 4 hold together" in re.sub(r"\s+", " ", page)
    for job in study.jobs:
        assert f'href="../{job.folder}/"' in page
        assert (study.path / "report" / ".." / job.folder / "config.yaml").is_file()
    assert "learning.tau" in page
    assert "robot ablate" in page
    assert re.search(r"0\.32<span class=\"i\">0\.3\d to 0\.3\d</span>", page)


def test_the_statistics_are_there_for_programs(bare, study):
    write_page(study)
    value = json.loads((study.path / "report" / "statistics.json").read_text())
    assert len(value["runs"]) == 15
    assert value["estimates"]["two"]["speed"]["value"] == pytest.approx(0.32)
    [found] = [c for c in value["comparisons"] if (c["second"], c["metric"]) == ("two", "speed")]
    assert found["mean"] == pytest.approx(0.3, abs=0.01)
    assert found["improvement"]["value"] == 1.0


def test_failed_runs_are_shown_and_stop_the_claim(bare, study, tmp_path):
    spoilt = copied(study, tmp_path)
    job = next(job for job in spoilt.jobs if job.name == "two-s3")
    shutil.rmtree(spoilt.run_of(job))
    spoilt.note_failure(job, "the learner diverged")
    path, results = write_page(spoilt)
    text, page = conclude(results), path.read_text()
    assert "one has higher speed than two" not in text
    assert "nothing is claimed about two: 1 of 5 runs of two has no result" in text
    assert "n = 4 of 5" in page
    assert "1 failed" in page
    assert "the learner diverged" in page
    assert "These runs failed and are in no figure below: two-s3" in page


def test_variants_without_results_are_named_together(study, tmp_path):
    begun = copied(study, tmp_path)
    shutil.rmtree(begun.path / "runs" / "three")
    text = conclude(Results.read(begun))
    assert "one has higher speed than two" in text
    assert text.endswith("nothing is claimed about three: none of its runs has a result.")
    shutil.rmtree(begun.path / "runs" / "two")
    assert conclude(Results.read(begun)) == (
        "Over n = 5 seeds, nothing is claimed about two and three: none of their runs has a result."
    )


def test_six_seeds_of_which_one_failed_carry_no_claim_either(tmp_path):
    spoilt = made_up(tmp_path, seeds=6)
    assert "one has higher speed than two" in conclude(Results.read(spoilt))
    (spoilt.path / "runs" / "two" / "s3" / "evaluation.json").unlink()
    results = Results.read(spoilt)
    assert results.comparisons["one", "two", "speed"].sign == 1  # five pairs are left
    assert "one has higher speed than two" not in conclude(results)


def test_nothing_is_claimed_when_the_reference_has_no_result(bare, study, tmp_path):
    spoilt = copied(study, tmp_path)
    (spoilt.path / "runs" / "one" / "s0" / "evaluation.json").unlink()
    path, results = write_page(spoilt)
    assert conclude(results) == "No claim: 1 of 5 runs of one has no result."
    assert "1 of 15 runs are not finished yet" in path.read_text()


def test_a_run_without_a_value_prevents_a_claim(bare, tmp_path):
    spoilt = made_up(tmp_path, seeds=6)
    file = spoilt.path / "runs" / "two" / "s3" / "evaluation.json"
    value = json.loads(file.read_text())
    for task in value["terrains"]["flat"]["tasks"].values():
        task["speed_m_s"] = float("nan")
    file.write_text(json.dumps(value))
    path, results = write_page(spoilt)
    assert results.comparisons["one", "two", "speed"].sign == 1  # of the five that are left
    text = conclude(results)
    assert "one has higher speed than two" not in text
    assert "nothing is claimed about speed of one and two: not every run has it" in text
    page = path.read_text()
    assert "nothing: not every run has a value" in page
    assert re.search(r"to 0\.3\d, n = 5<", page)


def test_a_metric_without_values_is_no_missing_run(bare, tmp_path):
    folder = made_up(tmp_path)
    turning = folder.study.file.model_copy(update={"metrics": ("turn_rate",)})
    folder.study = replace(folder.study, file=turning)
    path, _ = write_page(folder)
    assert path.read_text().count('–<span class="i">has none</span>') == 3  # nobody turns here


def test_less_is_better_where_it_is(bare, tmp_path):
    spoilt = made_up(tmp_path)
    for run in spoilt.path.glob("runs/*/s*/summary.json"):
        value = json.loads(run.read_text())
        falls = 160 if "/two/" in str(run) else 8 + int(run.parent.name[1:])
        run.write_text(json.dumps({**value, "falls": falls}))
    path, results = write_page(spoilt)
    assert "one has lower falls than two (-" in conclude(results)
    row = next(row for row in path.read_text().split("<tr>") if "<td>falls (1/min)</td>" in row)
    assert "<td>1.00 (1.00 to 1.00)</td>" in row  # P(better), and not P(more)
    assert "<td>lower</td>" in row


def test_pairs_are_compared_as_the_study_names_them(bare, tmp_path):
    folder = made_up(tmp_path)
    of_pairs = folder.study.file.model_copy(update={"pairs": (("two", "three"),)})
    folder.study = replace(folder.study, file=of_pairs)
    path, results = write_page(folder)
    assert set(results.comparisons) == {("two", "three", "speed"), ("two", "three", "falls")}
    assert "two has lower speed than three" in conclude(results)
    assert "97.5 % each so that all 2" in re.sub(r"\s+", " ", path.read_text())


def test_a_run_that_needed_a_person_is_a_result(bare, study, tmp_path):
    spoilt = copied(study, tmp_path)
    summary = spoilt.path / "runs" / "one" / "s0" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "status": "needs_help"}))
    path, results = write_page(spoilt)
    run = results.runs_of("one")[0]
    assert run.state == "needs help"
    assert run.metrics["interventions"] > 0.0
    assert "1 stopped because the robot could not stand up" in path.read_text()


def test_an_empty_study_has_a_page_too(study, tmp_path):
    empty = StudyFolder(tmp_path / "empty", study.study)
    empty.open()
    empty.close()
    path, results = write_page(empty)
    assert "not started" in path.read_text()
    assert conclude(results).startswith("No claim")


def test_results_go_into_a_markdown_file_and_are_replaced_there(study, tmp_path):
    target = tmp_path / "docs" / "results.md"
    target.parent.mkdir()
    _, results = write_page(study)
    publish(results, study, target)
    first = target.read_text()
    assert "one has higher speed than two" in first
    day = min(run.provenance["start_utc"] for run in results.runs)[:10]
    assert f"Runs of {day}" in first  # and not of the day of writing
    assert re.search(r"robot ablate .*mine.yaml .*--results docs/results.md", first)
    assert "Nobody knows." in first
    assert re.search(r"\| one \| two \| speed \(m/s\) \| \+0.3\d* \| .* \| 5 \| higher \|", first)
    for picture in re.findall(r"\]\((images/[^)]+)\)", first):
        assert (target.parent / picture).is_file()
    target.write_text(first + "\nA word of somebody's.\n")
    publish(results, study, target)
    assert target.read_text() == first + "\nA word of somebody's.\n"


def test_an_unfinished_study_is_not_published(study, tmp_path):
    few = made_up(tmp_path, seeds=2)
    with pytest.raises(RunError, match="2 seeds are too few"):
        publish(Results.read(few), few, tmp_path / "results.md")
    spoilt = copied(study, tmp_path / "other")
    (spoilt.path / "runs" / "one" / "s0" / "evaluation.json").unlink()
    with pytest.raises(RunError, match="one-s0"):
        publish(Results.read(spoilt), spoilt, tmp_path / "results.md")
    assert not (tmp_path / "results.md").exists()

# SPDX-License-Identifier: MIT
"""Study files: the shipped ones load, and errors are reported in one line."""

import pytest

from walkhome.robot.ablation.metric_names import METRICS
from walkhome.robot.ablation.study import load_study, plan, shipped
from walkhome.robot.config.resolve import ConfigError

GOOD = """
question: Does it matter?
base: {learning.batch_size: 64}
variants:
  as-it-is: {}
  other: {learning: {tau: 0.01}}
compare: [speed]
"""


def write(tmp_path, text=GOOD):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def refused(tmp_path, text, **kwargs):
    with pytest.raises(ConfigError) as caught:
        load_study(write(tmp_path, text), **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_study_can_be_run(name):
    study = load_study(name)
    assert study.file.seeds >= 5
    assert study.file.compare
    jobs = plan(study)
    assert len(jobs) == len(study.configs) * study.file.seeds
    assert len({job.folder for job in jobs}) == len(jobs)
    assert {job.config.run.minutes for job in jobs} == {study.file.minutes}


def test_the_studies_of_the_paper_are_there():
    assert {"multitask", "safety", "filter", "reset", "sharing", "efficiency", "terrain"} <= set(
        shipped()
    )
    kinds = {c.constraint.kind for c in load_study("safety").configs.values()}
    assert kinds == {"pid", "dual", "fixed", "off"}
    alone = load_study("multitask").configs["forward-alone"]
    assert alone.tasks == ("forward",)
    assert not alone.ablation.scheduler
    assert load_study("reset").configs["teleport"].ablation.reset == "teleport"
    assert load_study("sharing").configs["shared-network"].learning.shared_network


def test_the_plan_follows_the_study_file(tmp_path):
    study = load_study(write(tmp_path), seeds=3, minutes=2.5, overrides=["terrain=mattress"])
    assert (study.name, study.reference) == ("mine", "as-it-is")
    assert study.compared_pairs == (("as-it-is", "other"),)
    jobs = plan(study)
    assert [job.name for job in jobs[:3]] == ["as-it-is-s0", "other-s0", "as-it-is-s1"]
    config = jobs[-1].config
    assert (config.run.seed, config.run.minutes, config.terrain.name) == (2, 2.5, "mattress")
    assert (config.learning.batch_size, config.learning.tau) == (64, 0.01)
    assert jobs[0].config.learning.tau == 0.02
    assert study.changed()["other"]["learning.tau"] == 0.01


def test_pairs_and_seeds_that_a_file_names(tmp_path):
    text = GOOD + "pairs: [[other, as-it-is]]\nfirst_seed: 100\n"
    study = load_study(write(tmp_path, text), seeds=2)
    assert study.compared_pairs == (("other", "as-it-is"),)
    assert study.n_comparisons == len(study.file.compare)
    assert [job.seed for job in plan(study)] == [100, 100, 101, 101]
    twice = text.replace("[[other, as-it-is]]", "[[other, as-it-is], [as-it-is, other]]")
    assert "a pair needs two different variants" in refused(tmp_path, twice)


def test_a_component_file_is_looked_for_beside_the_study(tmp_path):
    (tmp_path / "ice.yaml").write_text("friction: 0.1\n")
    text = GOOD.replace("as-it-is: {}", "as-it-is: {terrain: ice.yaml}")
    assert load_study(write(tmp_path, text)).configs["as-it-is"].terrain.friction == 0.1


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("question:", "qestion:", "unknown key 'qestion'; did you mean 'question'?"),
        ("question: Does it matter?", "", "'question' is missing"),
        ("compare:", "evaluate: {episode: 3}\ncompare:", "did you mean 'evaluate.episodes'?"),
        ("tau: 0.01", "tua: 0.01", "'learning.tua'"),
        ("tau: 0.01", "tau: fast", "learning.tau = 'fast'"),
        ("batch_size", "bach_size", "did you mean 'learning.batch_size'?"),
        ("[speed]", "[sped]", "did you mean 'speed'?"),
        ("[speed]", "[multiplier]", "neither more nor less is better"),
        ("compare:", "curves: [spead]\ncompare:", "did you mean 'speed'?"),
        ("compare:", "reference: otter\ncompare:", "did you mean 'other'?"),
        ("compare:", "maps: [otter]\ncompare:", "did you mean 'other'?"),
        ("compare:", "pairs: [[otter, as-it-is]]\ncompare:", "did you mean 'other'?"),
        ("compare:", "pairs: [[other, other]]\ncompare:", "a pair needs two different variants"),
        ("compare:", "pairs: [[other]]\ncompare:", "pairs[0]"),
        ("compare:", "first_seed: -1\ncompare:", "first_seed = -1"),
        ("{learning: {tau: 0.01}}", "{}", "'as-it-is' and 'other' are the same"),
        ("{learning: {tau: 0.01}}", "{constraint.lambda_fixed: 2.0}", "no run uses it"),
        ("base: {", "base: {constraint.learning_rate: 0.1, ", "no run uses it"),
        ("base: {", "base: {constraint: {kind: 'off', after_fall: counted}, ", "no run uses it"),
        ("base: {", "base: {constraint: {kind: dual, growth: 0.2}, ", "no run uses it"),
        ("base: {", "base: {run.seed: 3, ", "use '--seeds'"),
        ("base: {", "base: {run.minutes: 3.0, ", "use 'minutes'"),
        ("base: {", "base: {tasks: [forward], ", "lacks its opposite"),
        ("compare:", "seeds: 0\ncompare:", "seeds = 0"),
        ("compare:", "evaluate: {terrains: [flt]}\ncompare:", "did you mean 'flat'?"),
        ("variants:", "variants: {a: {}, a: {}}\nold:", "there twice"),
        (GOOD, "- a list\n", "not a mapping; a study has"),
    ],
)
def test_errors_in_a_study_are_named_with_the_nearest_valid_name(tmp_path, before, after, said):
    assert before in GOOD
    message = refused(tmp_path, GOOD.replace(before, after))
    assert said in message
    assert "mine.yaml" in message or "evaluate" in after


def test_a_base_key_that_every_variant_overrides_is_used_by_no_run(tmp_path):
    text = GOOD.replace("as-it-is: {}", "as-it-is: {learning.tau: 0.5}")
    text = text.replace("base: {", "base: {learning.tau: 0.1, ")
    assert "base.learning.tau: every variant sets it" in refused(tmp_path, text)


def test_the_command_line_can_not_override_what_a_variant_sets(tmp_path):
    message = refused(tmp_path, GOOD, overrides=["learning.tau=0.5"])
    assert "--set learning.tau: it would replace the value of variant 'other'" in message
    assert "no run uses it" in refused(tmp_path, GOOD, overrides=["constraint.lambda_fixed=2.0"])
    assert "did you mean" in refused(tmp_path, GOOD, overrides=["learning.tua=0.5"])


def test_one_seed_carries_no_claim(tmp_path):
    assert "one seed carries no claim" in refused(tmp_path, GOOD, seeds=1)
    assert load_study(write(tmp_path), seeds=1, claims=False).n_comparisons == 0


def test_an_unknown_study_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'safety'"):
        load_study("safty")
    with pytest.raises(ConfigError, match="no such file"):
        load_study(str(tmp_path / "none.yaml"))


def test_every_metric_is_explained():
    for quantity in METRICS.values():
        assert quantity.meaning.endswith(".")
        assert quantity.better in (-1, 0, 1)

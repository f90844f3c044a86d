# SPDX-License-Identifier: MIT
"""The schema is the only place with defaults; the shipped files agree with it."""

from importlib.resources import files

import pytest

from walkhome.robot.config.resolve import (
    DEFAULTS_OF_OLD_RUNS,
    ConfigError,
    config_to_yaml,
    leaves,
    read_config,
    resolve_config,
)
from walkhome.robot.config.schema import Config
from walkhome.robot.config.strict_yaml import load_yaml

# Keys of configs/learn.yaml whose value differs from the schema's default, each with its reason.
DIFFERENT: dict[str, str] = {}

DEFAULTS = dict(leaves(Config().model_dump(mode="json")))


def shipped(name):
    return load_yaml((files("walkhome.configs") / name).read_text(), name)


def test_learn_yaml_repeats_the_schemas_defaults():
    learn = shipped("learn.yaml")
    learn.pop("terrain"), learn.pop("robot")  # names of files: the next test
    given = dict(leaves(learn))
    assert given
    different = {key for key, value in given.items() if value != DEFAULTS[key]}
    assert different == set(DIFFERENT)


@pytest.mark.parametrize(
    ("section", "name"), [("terrain", "terrains/flat.yaml"), ("robot", "robots/minitaur.yaml")]
)
def test_the_default_terrain_and_robot_repeat_the_schemas_defaults(section, name):
    for key, value in shipped(name).items():
        assert value == DEFAULTS[f"{section}.{key}"]


def test_a_new_run_has_the_schemas_defaults():
    assert resolve_config().config == Config()


def saved(tmp_path, *without):
    """The config.yaml of a run folder from before some keys existed."""
    text = config_to_yaml(resolve_config().config)
    for key in without:
        last = key.rpartition(".")[2]
        lines = [line for line in text.splitlines() if not line.strip().startswith(f"{last}:")]
        assert len(lines) == len(text.splitlines()) - 1
        text = "\n".join(lines) + "\n"
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_an_old_run_keeps_the_defaults_that_it_was_made_with(tmp_path):
    assert read_config(saved(tmp_path)).constraint.lambda_min == 1.0
    old = read_config(saved(tmp_path, "constraint.lambda_min"))
    assert old.constraint.lambda_min == 0.0
    assert old == Config(constraint={"lambda_min": 0.0})


def test_an_old_run_that_says_so_itself_is_believed(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("constraint: {lambda_min: 0.5}\n")
    assert read_config(path).constraint.lambda_min == 0.5


def test_every_default_of_old_runs_differs_from_todays():
    for key, value in DEFAULTS_OF_OLD_RUNS.items():
        assert DEFAULTS[key] != value


def test_a_new_configuration_never_gets_the_defaults_of_old_runs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("constraint: {kind: dual}\n")
    assert resolve_config(path).config.constraint.lambda_min == 1.0


def test_an_old_run_that_cannot_be_used_names_its_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("constraint: {lambda_max: 0.0}\n")
    with pytest.raises(ConfigError, match="lambda_max"):
        read_config(path)

# SPDX-License-Identifier: MIT
"""Resolution has one order, every value knows its origin, and every error is one helpful line."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from walkhome.hardware.body import Body
from walkhome.robot.config.resolve import (
    ConfigError,
    config_to_yaml,
    known,
    read_config,
    resolve_config,
    with_terrain,
)
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import OPPOSITE

KEYS = [key for key, _, _ in resolve_config().rows()]


def refused(*, file=None, **kwargs):
    """The message of a configuration that must be refused."""
    with pytest.raises(ConfigError) as caught:
        resolve_config(file, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_design():
    config = resolve_config().config
    assert config.terrain.name == "flat"
    assert config.tasks == ("forward", "backward")
    assert config.control.rate_hz == 50
    assert config.control.history_frames == 6
    assert config.learning.hidden_sizes == (256, 256)
    assert config.constraint.pitch_limit_rad == pytest.approx(math.pi / 12)
    assert config.constraint.roll_limit_rad == pytest.approx(math.pi / 6)


def test_nobody_changes_a_configuration():
    config = resolve_config().config
    with pytest.raises(ValidationError):
        config.run.seed = 3


def test_each_layer_covers_the_one_below(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("run: {seed: 1, minutes: 3}\nterrain: mattress\nlearning: {batch_size: 64}\n")
    resolved = resolve_config(
        file,
        flags={"terrain": "doormat", "run.minutes": 4.0, "run.seed": None},
        overrides=["run.minutes=5", "learning.learning_rate=1e-3"],
    )
    config, origin = resolved.config, resolved.origin
    assert (config.run.seed, origin["run.seed"]) == (1, str(file))
    assert (config.run.minutes, origin["run.minutes"]) == (5, "--set run.minutes=5")
    assert (config.terrain.name, config.terrain.friction > 0) == ("doormat", True)
    assert origin["terrain.name"] == "configs/terrains/doormat.yaml"
    assert (config.learning.batch_size, origin["learning.batch_size"]) == (64, str(file))
    assert config.learning.learning_rate == 0.001
    assert origin["control.rate_hz"] == "configs/learn.yaml"


def test_rows_tell_every_value_and_its_origin():
    rows = {key: (value, where) for key, value, where in resolve_config().rows()}
    assert rows["learning.tau"][1] == "default"
    assert rows["tasks"] == (["forward", "backward"], "configs/learn.yaml")
    assert rows["terrain.kind"] == ("plane", "configs/terrains/flat.yaml")
    assert len(rows) > 60


def test_a_terrain_replaces_the_whole_section(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("terrain: {friction: 0.3}\n")
    on_file = resolve_config(file)
    assert on_file.config.terrain.friction == 0.3
    covered = resolve_config(file, flags={"terrain": "mattress"})
    assert covered.config.terrain.friction != 0.3
    assert str(file) not in covered.origin.values()


def test_a_terrain_may_be_a_file(tmp_path):
    (tmp_path / "bog.yaml").write_text("kind: soft\nfriction: 0.4\nsize_m: 9\n")
    file = tmp_path / "mine.yaml"
    file.write_text("terrain: ./bog.yaml\n")  # beside the file that names it
    terrain = resolve_config(file).config.terrain
    assert (terrain.name, terrain.kind, terrain.friction) == ("bog", "soft", 0.4)
    flag = resolve_config(flags={"terrain": str(tmp_path / "bog.yaml")}).config.terrain
    assert flag == terrain


@pytest.mark.parametrize("name", known("terrain"))
def test_shipped_terrains_resolve_and_come_back_from_yaml(name, tmp_path):
    config = resolve_config(flags={"terrain": name}).config
    assert config.terrain.name == name
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    assert read_config(path) == config


def test_all_three_terrains_are_there():
    assert {"flat", "mattress", "doormat"} <= set(known("terrain"))


def test_a_word_that_yaml_1_1_takes_for_a_boolean_comes_back(tmp_path):
    config = resolve_config(overrides=["constraint.kind=off"]).config
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    assert read_config(path).constraint.kind == "off"


def test_another_terrain_later():
    config = resolve_config(overrides=["run.seed=9"]).config
    other = with_terrain(config, "doormat")
    assert (other.terrain.name, other.run.seed) == ("doormat", 9)
    with pytest.raises(ConfigError, match="doormat"):
        with_terrain(config, "dormat")


def test_the_body_is_what_is_configured():
    assert resolve_config().config.robot.to_body() == Body(
        name="minitaur",
        kp=0.5,
        kd=0.005,
        stance_swing_rad=0.0,
        stance_extension_rad=2.0,
        action_swing_rad=0.5,
        action_extension_rad=0.5,
        rate_limit_rad_s=25.0,
        footprint_m=0.6,
    )
    body = resolve_config(overrides=["robot.kp=0.7"]).config.robot.to_body()
    assert body.kp == 0.7


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("learning.batchsize=2", ["unknown key 'learning.batchsize'", "'learning.batch_size'"]),
        ("batch_size=2", ["unknown key 'batch_size'", "'learning.batch_size'"]),
        ("lerning.batch_size=2", ["'learning.batch_size'"]),
        ("learning.tau.x=2", ["learning.tau"]),
        ("nonsense=2", ["unknown key 'nonsense'", "robot config show"]),
        ("learning=3", ["learning is a section", "batch_size"]),
        ("learning.batch_size=0", ["learning.batch_size = 0", "greater than or equal to 1"]),
        ("learning.batch_size=1e3", ["learning.batch_size = 1000.0", "integer"]),
        ("learning.batch_size=true", ["learning.batch_size = True"]),
        ("learning.layer_norm=yes", ["learning.layer_norm = 'yes'", "true or false"]),
        ("learning.learning_rate='1e-3'", ["learning.learning_rate = '1e-3'", "number"]),
        ("learning.tau=", ["learning.tau = None"]),
        ("run.minutes=.nan", ["--set run.minutes=.nan", "finite"]),
        ("run.minutes=.inf", ["finite"]),
        ("run.minutes=12:30", ["base-60"]),
        ("run.minutes", ["key=value"]),
        ("=3", ["key=value"]),
        ("constraint.kind=pod", ["'pid'", "did you mean 'pid'?"]),
        ("constraint.lambda_fixed=200", ["lambda_fixed", "lambda_max"]),
        ("constraint.lambda_min=200", ["lambda_min", "lambda_max"]),
        ("constraint.after_fall=never", ["constraint.after_fall", "counted"]),
        ("control.rate_hz=30", ["sim.physics_rate_hz", "multiple"]),
        ("control.rate_hz=10", ["control.rate_hz = 10", "20"]),
        ("control.action_filter.cutoff_hz=30", ["half of control.rate_hz"]),
        ("workspace.half_width_m=0.1", ["workspace.half_width_m", "smaller than the robot"]),
        ("workspace.centre_radius_m=9", ["centre_radius_m"]),
        ("learning.replay_capacity=10", ["replay_capacity", "batch_size"]),
        ("learning.critics=crossq", ["'crossq' is no setting any more", "benchmarks/crossq.py"]),
        ("learning={device: cuda, backend: plain}", ["backend", "device: cuda"]),
        ("learning={backend: plain, precision: bfloat16}", ["precision", "backend: plain"]),
        ("tasks=[forward, forward, backward]", ["'forward' is there twice"]),
        ("tasks=[]", ["tasks"]),
        ("terrain=lava", ["doormat, flat, mattress"]),
        ("terrain.name='12'", ["terrain.name"]),
    ],
)
def test_a_bad_override_is_one_helpful_line(override, parts):
    message = refused(overrides=[override])
    assert override in message
    for part in parts:
        assert part in message


def test_the_retired_key_of_old_runs_is_accepted_with_its_default():
    old = resolve_config(overrides=["learning.critics=targets"]).config
    assert old == resolve_config().config


def test_the_plain_backend_may_be_told_what_it_is():
    config = resolve_config(overrides=["learning={backend: plain, precision: float32}"]).config
    assert config.learning.precision == "float32"


def test_an_unknown_terrain_lists_the_known_ones():
    message = refused(flags={"terrain": "matress"})
    for name in known("terrain"):
        assert name in message
    assert "--terrain" in message
    assert "did you mean 'mattress'?" in message


@pytest.mark.parametrize("text", ["[1, 2]", "3", "learning: [", "learning: {batch_size: 1", "\xff"])
def test_a_broken_file_is_one_line_that_names_it(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode("latin-1"))
    assert str(file) in refused(file=file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refused(file=tmp_path / "nope.yaml")
    assert "directory" in refused(file=tmp_path)
    assert "no such file" in refused(flags={"terrain": str(tmp_path / "nope.yaml")})


def test_an_error_names_the_file_that_wrote_the_value(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("workspace: {half_length_m: 0.2}\n")
    assert str(file) in refused(file=file)


def test_an_empty_file_or_section_changes_nothing(tmp_path):
    file = tmp_path / "mine.yaml"
    for text in ("", "# nothing\n", "learning:\n"):
        file.write_text(text)
        assert resolve_config(file).config == resolve_config().config


def test_every_set_of_tasks_with_opposites_and_no_other():
    names = list(OPPOSITE)
    for chosen in product([False, True], repeat=4):
        tasks = [name for name, there in zip(names, chosen, strict=True) if there]
        lonely = [task for task in tasks if OPPOSITE[task] not in tasks]
        if tasks and not lonely:
            assert resolve_config(flags={"tasks": tasks}).config.tasks == tuple(tasks)
        elif lonely:
            message = refused(flags={"tasks": tasks})
            assert f"{lonely[0]!r} lacks its opposite {OPPOSITE[lonely[0]]!r}" in message


@settings(max_examples=60)
@given(st.text(max_size=30) | st.sampled_from(KEYS), st.text(max_size=30))
def test_no_override_ends_in_anything_but_a_config_error(key, value):
    message = ""
    try:
        assert isinstance(resolve_config(overrides=[f"{key}={value}"]).config, Config)
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


def test_only_an_ablation_does_without_the_way_home():
    assert "lacks its opposite" in refused(overrides=["tasks=[forward]"])
    off = ["ablation.scheduler=false"]
    assert resolve_config(overrides=["tasks=[forward]", *off]).config.ablation.carries
    assert "'left' 'right', which is not in tasks; use none" in refused(
        overrides=["tasks=[left]", *off]
    )
    turn = ["tasks=[left]", "learning.symmetry=none", *off]
    assert resolve_config(overrides=turn).config.tasks == ("left",)
    assert not resolve_config().config.ablation.carries


def test_layers_in_between_have_dotted_keys_and_a_name_for_messages(tmp_path):
    (tmp_path / "ice.yaml").write_text("friction: 0.1\n")
    layers = [
        (
            {"learning.tau": 0.1, "learning": {"discount": 0.9}, "terrain": "ice.yaml"},
            "a",
            tmp_path,
        ),
        ({"learning.tau": 0.2}, "b", tmp_path),
    ]
    found = resolve_config(layers=layers, overrides=["run.seed=4"])
    assert (found.config.learning.tau, found.config.learning.discount) == (0.2, 0.9)
    assert (found.config.terrain.friction, found.config.run.seed) == (0.1, 4)
    assert (found.origin["learning.tau"], found.origin["learning.discount"]) == ("b", "a")
    assert "(a)" in refused(layers=[({"learning.tua": 1.0}, "a", tmp_path)])


def test_a_filter_of_an_order_that_nobody_can_make_is_refused():
    assert "less than or equal to 2" in refused(overrides=["control.action_filter.order=3"])

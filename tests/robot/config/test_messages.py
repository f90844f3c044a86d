# SPDX-License-Identifier: MIT
"""One-line messages for what pydantic refuses, and lists in YAML for tuples in the schema."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from walkhome.robot.ablation.study import StudyFile
from walkhome.robot.board.calibration import Calibration
from walkhome.robot.board.pose_sources import CameraConfig
from walkhome.robot.config.messages import dotted_keys, explain, nearest_key, short
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import Section
from walkhome.robot.teleop.bindings import TeleopConfig


class Inner(Section):
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _in_order(self):
        if self.low > self.high:
            raise ValueError("low is above high: lower it")
        if self.low < 0:
            raise ValueError("nothing here is negative")
        return self


class Outer(Section):
    count: int
    kind: Literal["soft", "hard"] = "soft"
    on: bool = True
    sizes: Annotated[tuple[Annotated[int, Field(strict=True)], ...], Field(strict=False)] = ()
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _even(self):
        if self.count % 2:
            raise ValueError("count must be even")
        return self


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": "two"}, "count = 'two': should be a valid integer"),
        ({}, "the key 'count' is missing"),
        ({"cuont": 2}, "unknown key 'cuont'; did you mean 'count'?"),
        ({"count": 2, "inner": {"lo": 1}}, "unknown key 'inner.lo'; did you mean 'inner.low'?"),
        (
            {"count": 2, "inner": {"qqqqqqqqqq": 1}},
            "unknown key 'inner.qqqqqqqqqq'; use one of low, high",
        ),
        (
            {"count": 2, "kind": "sofd"},
            "kind = 'sofd': should be 'soft' or 'hard'; did you mean 'soft'?",
        ),
        ({"count": 2, "on": "yes"}, "on = 'yes': should be true or false"),
        ({"count": 2, "sizes": [1, 2.5]}, "sizes[1] = 2.5: should be a valid integer"),
        ({"count": 2, "inner": {"low": 2.0}}, "inner.low is above high: lower it"),
        ({"count": 2, "inner": {"low": -1.0}}, "inner: nothing here is negative"),
        ({"count": 3}, "count must be even"),
        ([1], "the file: should be a valid dictionary or instance of Outer, not [1]"),
    ],
)
def test_each_kind_of_problem_is_one_line(values, message):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    assert explain(caught.value, Outer) == message


def test_the_source_of_a_value_is_added():
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"count": 2, "inner": {"low": 2.0}})
    text = explain(caught.value, Outer, lambda text: f" ({text.split()[0]} from mine.yaml)")
    assert text == "inner.low is above high: lower it (inner.low from mine.yaml)"


def test_keys_and_their_neighbours():
    keys = list(dotted_keys(Outer))
    assert keys == ["count", "kind", "on", "sizes", "inner.low", "inner.high", "inner"]
    assert nearest_key("innr.high", keys) == "inner.high"
    assert nearest_key("qqq", keys) is None


def test_long_values_are_cut():
    assert short("x" * 100) == "'" + "x" * 56 + "..."
    assert short("two\nlines") == "'two\\nlines'"


@pytest.mark.parametrize(
    ("model", "values", "field"),
    [
        (Config, {"tasks": ["left", "right"]}, "tasks"),
        (Config, {"learning": {"hidden_sizes": [64, 64]}}, "learning"),
        (TeleopConfig, {"gamepad": {"cut": ["x", "y"]}, "keyboard": {"stand": ["j"]}}, "gamepad"),
        (
            Calibration,
            {"robot_id": "a", "zero_table": 1, "date": "today", "sign": [-1] * 8},
            "sign",
        ),
        (CameraConfig, {"focal_px": [600.0, 600.0], "centre_px": [320.0, 240.0]}, "focal_px"),
        (
            StudyFile,
            {"question": "?", "variants": {"a": {}}, "pairs": [["a", "b"]], "compare": ["falls"]},
            "pairs",
        ),
    ],
)
def test_a_list_is_taken_for_a_tuple(model, values, field):
    model.model_validate(values)
    with pytest.raises(ValidationError):
        model.model_validate({**values, field: "word"})


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Config, {"learning": {"hidden_sizes": [64.0, 64]}}),
        (Config, {"learning": {"hidden_sizes": ["64", 64]}}),
        (Config, {"learning": {"hidden_sizes": [True, 64]}}),
        (Calibration, {"robot_id": "a", "zero_table": 1, "date": "", "order": [*range(7), "7"]}),
        (Calibration, {"robot_id": "a", "zero_table": 1, "date": "", "zero_rad": ["0"] * 8}),
        (CameraConfig, {"focal_px": ["600", 600.0], "centre_px": [320.0, 240.0]}),
        (TeleopConfig, {"keyboard": {"stand": [1]}}),
        (StudyFile, {"question": "?", "variants": {"a": {}}, "compare": [1]}),
    ],
)
def test_what_is_inside_a_list_stays_strict(model, values):
    with pytest.raises(ValidationError):
        model.model_validate(values)

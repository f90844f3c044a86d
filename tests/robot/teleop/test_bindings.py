# SPDX-License-Identifier: MIT
"""Bindings: the shipped file is valid, and every mistake is reported with its place."""

import pytest

from walkhome.robot.teleop.bindings import TeleopConfig, read_bindings
from walkhome.robot.teleop.driver_input import TeleopError


def test_the_shipped_file_equals_the_defaults():
    assert read_bindings() == TeleopConfig()


def test_a_file_overrides_the_shipped_bindings(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("blend_s: 0.2\nkeyboard: {forward: [i]}\n")
    config = read_bindings(path)
    assert config.blend_s == 0.2
    assert config.keyboard.forward == ("i",)
    assert config.keyboard.backward == ("s", "down")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("blend_s: 0.6", "blend_s = 0.6"),
        ("blend_s: .nan", "not a finite number"),
        ("gamepad: {settel: a}", "did you mean 'gamepad.settle'"),
        ("gamepad: {settle: trigger}", "gamepad.settle = 'trigger'"),
        ("gamepad: {settle: leftshoulder}", "a button has two meanings"),
        ("gamepad: {dead_man: a}", "gamepad.dead_man = 'a'"),
        ("gamepad: {turn_axis: lefty}", "are the same"),
        ("keyboard: {stand: [w]}", "the key 'w' has two meanings"),
        ("keyboard: {stand: [enter]}", "keyboard.stand[0] = 'enter'"),
        ("keyboard: {cut: []}", "keyboard.cut"),
        ("scale: {least: 0.9, most: 0.8}", "least is above most"),
        ("- a", "expected sections"),
        ("gamepad: 3", "gamepad = 3"),
        ("blend_s: 0.2\nblend_s: 0.3", "there twice"),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path, text, part):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TeleopError, match=r"mine\.yaml") as caught:
        read_bindings(path)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TeleopError, match="no such file"):
        read_bindings(tmp_path / "nope.yaml")

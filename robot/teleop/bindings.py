# SPDX-License-Identifier: MIT
"""Bindings of keys, sticks and buttons: configs/teleop.yaml, overridden by a user's file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from walkhome.robot.config.messages import explain
from walkhome.robot.config.sections import Section
from walkhome.robot.config.strict_yaml import YamlError, load_yaml
from walkhome.robot.teleop.driver_input import TeleopError

# In the order of SDL's game-controller axes and buttons.
AXES = ("leftx", "lefty", "rightx", "righty", "lefttrigger", "righttrigger")
BUTTONS = (
    *("a", "b", "x", "y", "back", "guide", "start", "leftstick", "rightstick"),
    *("leftshoulder", "rightshoulder", "dpad_up", "dpad_down", "dpad_left", "dpad_right"),
)

Stick = Literal["leftx", "lefty", "rightx", "righty"]
Trigger = Literal["lefttrigger", "righttrigger"]
Button = Literal[
    "a",
    "b",
    "x",
    "y",
    "back",
    "guide",
    "start",
    "leftstick",
    "rightstick",
    "leftshoulder",
    "rightshoulder",
    "dpad_up",
    "dpad_down",
    "dpad_left",
    "dpad_right",
]


Key = Annotated[str, Field(pattern=r"^(?:[!-~]|up|down|left|right|space)$")]
Keys = Annotated[tuple[Key, ...], Field(min_length=1, strict=False)]
Silence = Annotated[float, Field(ge=0.1, le=5.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class ScaleConfig(Section):
    """Range and step of the stride, as a share of the learned stride."""

    least: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    most: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    step: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1

    @model_validator(mode="after")
    def _in_order(self) -> ScaleConfig:
        if self.least > self.most:
            raise ValueError(f"least is above most ({self.most:g}): lower it")
        return self

    def moved(self, scale: float, steps: int) -> float:
        """Return the scale moved by `steps` (down if negative), clipped to the range."""
        return min(self.most, max(self.least, round(scale + steps * self.step, 6)))


class GamepadConfig(Section):
    """Gamepad bindings; names as in SDL's game-controller mapping."""

    walk_axis: Stick = "lefty"
    turn_axis: Stick = "rightx"
    dead_zone: Share = 0.35
    dead_man: Trigger = "righttrigger"
    held_above: Share = 0.4
    settle: Button = "b"
    cut: Annotated[tuple[Button, Button], Field(strict=False)] = (
        "leftshoulder",
        "rightshoulder",
    )
    faster: Button = "dpad_up"
    slower: Button = "dpad_down"
    silent_s: Silence = 0.5
    trust_wired: bool = True

    @model_validator(mode="after")
    def _check_buttons_differ(self) -> GamepadConfig:
        buttons = (self.settle, *self.cut, self.faster, self.slower)
        if len(set(buttons)) < len(buttons):
            raise ValueError("a button has two meanings: give each its own")
        if self.walk_axis == self.turn_axis:
            raise ValueError("walk_axis and turn_axis are the same: give each its own")
        return self


class KeyboardConfig(Section):
    """Keyboard bindings: single characters, `up`, `down`, `left`, `right` or `space`."""

    forward: Keys = ("w", "up")
    backward: Keys = ("s", "down")
    left: Keys = ("a", "left")
    right: Keys = ("d", "right")
    stand: Keys = ("h",)
    settle: Keys = ("space",)
    cut: Keys = ("x",)
    faster: Keys = ("+",)
    slower: Keys = ("-",)
    quit: Keys = ("q",)
    silent_s: Silence = 0.5
    first_repeat_s: Silence = 0.8

    @model_validator(mode="after")
    def _check_keys_differ(self) -> KeyboardConfig:
        keys = [key for meaning in self.meanings() for key in getattr(self, meaning)]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"the key {key!r} has two meanings: give each its own")
        return self

    @staticmethod
    def meanings() -> tuple[str, ...]:
        """Return the names of the fields that bind keys."""
        fields = KeyboardConfig.model_fields
        return tuple(name for name, field in fields.items() if field.annotation is not float)


class TeleopConfig(Section):
    """Settings of `robot teleop`: blending, stride, gamepad and keyboard bindings."""

    blend_s: Annotated[float, Field(gt=0.0, le=0.5)] = 0.5
    scale: ScaleConfig = ScaleConfig()
    gamepad: GamepadConfig = GamepadConfig()
    keyboard: KeyboardConfig = KeyboardConfig()


def read_bindings(path: Path | None = None) -> TeleopConfig:
    """Read the shipped bindings, overridden by those of a file.

    Args:
        path: the user's YAML file; keys that it leaves out keep their shipped values. None: the
            shipped bindings alone.

    Raises:
        TeleopError: the file can't be read, or a value in it is invalid; one line that names it.
    """
    shipped = files("walkhome.configs").joinpath("teleop.yaml").read_text(encoding="utf-8")
    tree: dict[str, Any] = _load(shipped, "configs/teleop.yaml")
    source = "configs/teleop.yaml"
    if path is not None:
        source = str(path)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise TeleopError(f"{path}: {(error.strerror or 'unreadable').lower()}") from None
        for section, value in _load(text, source).items():
            old = tree.get(section)
            both = isinstance(old, dict) and isinstance(value, dict)
            tree[section] = {**old, **value} if both else value  # type: ignore[dict-item]
    try:
        return TeleopConfig.model_validate(tree)
    except ValidationError as error:
        raise TeleopError(f"{source}: {explain(error, TeleopConfig)}") from None


def _load(text: str | bytes, source: str) -> dict[str, Any]:
    try:
        value = load_yaml(text, source)
    except YamlError as error:
        raise TeleopError(str(error)) from None
    if value is not None and not isinstance(value, dict):
        raise TeleopError(f"{source}: expected sections such as `gamepad:`")
    return value or {}

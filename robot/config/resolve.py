# SPDX-License-Identifier: MIT
"""From files and flags to one checked `Config`, with the place that every value came from.

defaults <- configs/learn.yaml <- --config file <- flags <- --set key=value, through one merge
(`_Layers.merge`) and one validation. `terrain` and `robot` may be names of shipped files or paths;
such a file replaces the whole section. Every error is a `ConfigError` of one line: what, where, and
what to do. Nothing heavy is imported: `robot --help` needs this module to be quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from walkhome.robot.config.messages import dotted_keys, explain, nearest, nearest_key, short
from walkhome.robot.config.schema import (
    OPPOSITE,
    AblationConfig,
    ActionFilterConfig,
    BoardConfig,
    Config,
    ConstraintConfig,
    ControlConfig,
    EpisodeConfig,
    LearningConfig,
    RewardConfig,
    RobotConfig,
    RunConfig,
    SimConfig,
    StandUpConfig,
    TaskName,
    TerrainConfig,
    WorkspaceConfig,
)
from walkhome.robot.config.strict_yaml import YamlError, load_yaml

__all__ = [
    "OPPOSITE",
    "AblationConfig",
    "ActionFilterConfig",
    "BoardConfig",
    "Config",
    "ConfigError",
    "ConstraintConfig",
    "ControlConfig",
    "EpisodeConfig",
    "LearningConfig",
    "Resolved",
    "RewardConfig",
    "RobotConfig",
    "RunConfig",
    "SimConfig",
    "StandUpConfig",
    "TaskName",
    "TerrainConfig",
    "WorkspaceConfig",
    "config_to_yaml",
    "known",
    "leaves",
    "parse_override",
    "read_config",
    "resolve_config",
    "with_terrain",
]

# Sections that a string may name: the folder in configs/ and the model behind it.
_COMPONENTS: dict[str, tuple[str, type[BaseModel]]] = {
    "terrain": ("terrains", TerrainConfig),
    "robot": ("robots", RobotConfig),
}
_DEFAULT = "default"


class ConfigError(ValueError):
    """A configuration that can't be used; the message is one line: what, where, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # what the user wrote may have several lines


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each value came from.

    Attributes:
        config: the checked values.
        origin: dotted key -> "default", a file's name or a flag.
    """

    config: Config
    origin: dict[str, str]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted key, value, origin) of every value, in the order of the models."""
        for key, value in leaves(self.config.model_dump(mode="json")):
            yield key, value, self.origin.get(key, _DEFAULT)


def resolve_config(
    config_file: Path | None = None,
    *,
    layers: Sequence[tuple[Mapping[str, Any], str, Path]] = (),
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Resolved:
    """The configuration of a new run.

    Args:
        config_file: a YAML file on top of the shipped configs/learn.yaml.
        layers: more of them, already read: dotted key -> value, what to call it in messages, and
            the folder that paths in it start at.
        flags: dotted key -> value of the command's own flags; None values are left out.
        overrides: "dotted.key=value", the value in YAML; these come last.

    Raises:
        ConfigError: anything in it can't be used.
    """
    merged = _Layers()
    shipped = files("walkhome.configs").joinpath("learn.yaml").read_text(encoding="utf-8")
    merged.merge_text(shipped, "configs/learn.yaml", None)
    if config_file is not None:
        merged.merge_text(_read(config_file), str(config_file), config_file.parent)
    for layer, source, folder in layers:
        for key, value in layer.items():
            merged.merge(_nested(key, value), source, folder)
    for key, value in (flags or {}).items():
        if value is not None:
            merged.merge(_nested(key, value), f"--{key.rpartition('.')[2]}", Path())
    for override in overrides:
        key, value = parse_override(override)
        merged.merge(_nested(key, value), f"--set {override}", Path())
    return merged.validate()


def parse_override(text: str) -> tuple[str, Any]:
    """Dotted key and value of a "key=value".

    Raises:
        ConfigError: it is not written like that, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write it as key=value, as run.minutes=10")
    return key.strip(), _yaml(value, f"--set {text}")


def read_config(path: Path) -> Config:
    """The configuration that a run folder keeps; what the file lacks has the models' defaults.

    Raises:
        ConfigError: the file can't be read or used.
    """
    layers = _Layers()
    layers.merge_text(_read(path), str(path), path.parent)
    return layers.validate().config


def with_terrain(config: Config, terrain: str) -> Config:
    """The same configuration on another terrain, given by name or path.

    Raises:
        ConfigError: there is no such terrain, or the workspace does not fit on it.
    """
    layers = _Layers(config)
    layers.merge({"terrain": terrain}, "--terrain", Path())
    return layers.validate().config


def config_to_yaml(config: Config) -> str:
    """The whole configuration as YAML; `read_config` gives the same `Config` back."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def known(section: str) -> list[str]:
    """The names of the shipped files for a section: "terrain" or "robot"."""
    folder = files("walkhome.configs").joinpath(_COMPONENTS[section][0])
    return sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))


class _Layers:
    """A tree of values that layers are merged into, each value with its origin."""

    def __init__(self, base: Config | None = None) -> None:
        self._tree: dict[str, Any] = (base or Config()).model_dump()
        self._origin: dict[str, str] = {}
        self._keys = list(dotted_keys(Config))

    def merge_text(self, text: str | bytes, source: str, folder: Path | None) -> None:
        """Merge a YAML document; paths in it start at `folder`."""
        layer = _yaml(text, source)
        if layer is None:
            return
        if not isinstance(layer, dict):
            raise ConfigError(f"{source}: expected sections as `run:`, got {short(layer)}")
        self.merge(layer, source, folder)

    def merge(self, layer: Mapping[str, Any], source: str, folder: Path | None) -> None:
        """Merge one layer over what is there; the only place where values meet."""
        for key, value in layer.items():
            if key in _COMPONENTS and isinstance(value, str):
                self._merge_component(key, value, source, folder)
            else:
                self._merge_key(self._tree, key, value, "", source)

    def validate(self) -> Resolved:
        """Check everything at once."""
        try:
            config = Config.model_validate(self._tree)
        except ValidationError as error:
            raise ConfigError(explain(error, Config, self._sources)) from None
        return Resolved(config, dict(self._origin))

    def _merge_key(
        self, tree: dict[str, Any], key: str, value: Any, prefix: str, source: str
    ) -> None:
        dotted = prefix + key
        if key not in tree:
            inside = next(leaves(value), None) if isinstance(value, Mapping) else None
            full = f"{dotted}.{inside[0]}" if inside else dotted
            raise ConfigError(self._unknown(full, source))
        if not isinstance(tree[key], dict):
            tree[key] = value
            self._origin[dotted] = source
        elif isinstance(value, Mapping):
            for inner, inner_value in value.items():
                self._merge_key(tree[key], inner, inner_value, f"{dotted}.", source)
        elif value is not None:  # a section with every line commented out changes nothing
            keys = ", ".join(tree[key])
            raise ConfigError(
                f"{dotted} is a section, not {short(value)} ({source}); its keys are {keys}"
            )

    def _merge_component(self, key: str, name: str, source: str, folder: Path | None) -> None:
        directory, model = _COMPONENTS[key]
        text: str | bytes
        if "/" in name or name.endswith((".yaml", ".yml")):
            path = (folder or Path()) / name
            text, label = _read(path, f" ({source})"), str(path)
        elif name in known(key):
            label = f"configs/{directory}/{name}.yaml"
            text = (files("walkhome.configs") / directory / f"{name}.yaml").read_text(
                encoding="utf-8"
            )
        else:
            near = nearest(name, known(key))
            hint = f"; did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"unknown {key} {name!r} ({source}): it is one of {', '.join(known(key))}, or the "
                f"path of a YAML file{hint}"
            )
        values = _yaml(text, label)
        if not isinstance(values, dict):
            raise ConfigError(f"{label}: expected the keys of `{key}`, got {short(values)}")
        self._tree[key] = model().model_dump()
        for dotted in [k for k in self._origin if k.startswith(f"{key}.")]:
            del self._origin[dotted]
        self._merge_key(self._tree, key, {"name": Path(name).stem, **values}, "", label)

    def _unknown(self, dotted: str, source: str) -> str:
        near = nearest_key(dotted, self._keys)
        hint = f"; did you mean {near!r}?" if near else "; `robot config show` prints all keys"
        return f"unknown key {dotted!r} ({source}){hint}"

    def _sources(self, text: str) -> str:
        """Where the keys that a message names came from, as far as somebody wrote them."""
        named = (key.rstrip(".") for key in re.findall(r"[a-z_.]+", text))
        sources = dict.fromkeys(self._origin[key] for key in named if key in self._origin)
        return f" ({', '.join(sources)})" if sources else ""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in a tree of sections."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return dict(value)


def _yaml(text: str | bytes, source: str) -> Any:
    try:
        return load_yaml(text, source)
    except YamlError as error:
        raise ConfigError(str(error)) from None


def _read(path: Path, where: str = "") -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or "can't be read"
        raise ConfigError(f"{path}: {why[0].lower()}{why[1:]}{where}") from None

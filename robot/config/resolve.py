# SPDX-License-Identifier: MIT
"""Resolves files and flags into one checked `Config`, and records the origin of every value.

    defaults <- configs/learn.yaml <- --config FILE <- flags <- --set KEY=VALUE

All layers pass through one merge (`_Layers.merge`) and one validation. `terrain` and `robot` may
name a shipped file or a path; such a file replaces the whole section. Every error is a
`ConfigError` of one line that says what is wrong, where, and what to do. No heavy module is
imported, because `robot --help` must be quick.
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
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import (
    RobotConfig,
    TerrainConfig,
)
from walkhome.robot.config.strict_yaml import YamlError, load_yaml

# Sections that may be given by name: their folder in configs/ and their model.
_COMPONENTS: dict[str, tuple[str, type[BaseModel]]] = {
    "terrain": ("terrains", TerrainConfig),
    "robot": ("robots", RobotConfig),
}
_DEFAULT = "default"

DEFAULTS_OF_OLD_RUNS: dict[str, Any] = {
    "constraint.lambda_min": 0.0,
}
"""Values of keys that are missing in the config.yaml of an old run folder.

A run folder keeps its complete configuration, so a missing key shows that the run is older than the
key. A key belongs here if its default would change what such a run does. All other missing keys
have defaults that leave an old run as it was.
"""


class ConfigError(ValueError):
    """A configuration can't be used; the message is one line: what, where, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # a quoted value may have several lines


@dataclass(frozen=True)
class Resolved:
    """A configuration and the origin of its values.

    Attributes:
        config: the checked configuration.
        origin: file name or flag that set a value, by dotted key; defaults are not in it.
    """

    config: Config
    origin: dict[str, str]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted key, value, origin) of every value, in the schema's order."""
        for key, value in leaves(self.config.model_dump(mode="json")):
            yield key, value, self.origin.get(key, _DEFAULT)


def resolve_config(
    config_file: Path | None = None,
    *,
    layers: Sequence[tuple[Mapping[str, Any], str, Path]] = (),
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Resolved:
    """Resolve the configuration of a new run. Later arguments override earlier ones.

    Args:
        config_file: a YAML file whose values override the shipped configs/learn.yaml.
        layers: further layers, already parsed: values by dotted key, a name for messages, and the
            folder that relative paths in it start from.
        flags: values of the command's own flags, by dotted key; None means not given.
        overrides: "dotted.key=value" texts of --set, with the value in YAML.

    Raises:
        ConfigError: a file can't be read, a key is unknown, or a value is invalid.
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
    """Dotted key and parsed value of a "key=value" text.

    Raises:
        ConfigError: the text has no key or no "=", or the value is not valid YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write it as key=value, e.g. run.minutes=10")
    return key.strip(), _yaml(value, f"--set {text}")


def read_config(path: Path) -> Config:
    """Read the config.yaml of a run folder.

    Keys that the file lacks get `DEFAULTS_OF_OLD_RUNS`, else the schema's defaults.

    Raises:
        ConfigError: the file can't be read, a key is unknown, or a value is invalid.
    """
    layers = _Layers()
    for key, value in DEFAULTS_OF_OLD_RUNS.items():
        layers.merge(_nested(key, value), "default when the run was made", None)
    layers.merge_text(_read(path), str(path), path.parent)
    return layers.validate().config


def with_terrain(config: Config, terrain: str) -> Config:
    """Return `config` with another terrain, given by name or path.

    Raises:
        ConfigError: there is no such terrain, or the workspace does not fit on it.
    """
    layers = _Layers(config)
    layers.merge({"terrain": terrain}, "--terrain", Path())
    return layers.validate().config


def config_to_yaml(config: Config) -> str:
    """The whole configuration as YAML; `read_config` reads it back unchanged."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def known(section: str) -> list[str]:
    """Names of the shipped files for a section, "terrain" or "robot"."""
    folder = files("walkhome.configs").joinpath(_COMPONENTS[section][0])
    return sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))


_RETIRED: dict[str, tuple[Any, str]] = {
    "learning.critics": (
        "targets",
        "CrossQ's critics are in benchmarks/crossq.py; resume such a run with the version that "
        "wrote it, or take the key out for a new run",
    ),
}
"""Keys of old run folders that are gone: the value that is still accepted, and why no other is."""


class _Layers:
    """The tree of values that layers are merged into, with the origin of each value."""

    def __init__(self, base: Config | None = None) -> None:
        self._tree: dict[str, Any] = (base or Config()).model_dump()
        self._origin: dict[str, str] = {}
        self._keys = list(dotted_keys(Config))

    def merge_text(self, text: str | bytes, source: str, folder: Path | None) -> None:
        """Merge a YAML document; relative paths in it start from `folder`."""
        layer = _yaml(text, source)
        if layer is None:
            return
        if not isinstance(layer, dict):
            raise ConfigError(f"{source}: expected sections such as `run:`, got {short(layer)}")
        self.merge(layer, source, folder)

    def merge(self, layer: Mapping[str, Any], source: str, folder: Path | None) -> None:
        """Merge one layer; its values override those merged before."""
        for key, value in layer.items():
            if key in _COMPONENTS and isinstance(value, str):
                self._merge_component(key, value, source, folder)
            else:
                self._merge_key(self._tree, key, value, "", source)

    def validate(self) -> Resolved:
        """Check the merged values.

        Raises:
            ConfigError: a value, or a combination of values, is invalid.
        """
        try:
            config = Config.model_validate(self._tree)
        except ValidationError as error:
            raise ConfigError(explain(error, Config, self._sources)) from None
        return Resolved(config, dict(self._origin))

    def _merge_key(
        self, tree: dict[str, Any], key: str, value: Any, prefix: str, source: str
    ) -> None:
        dotted = prefix + key
        if dotted in _RETIRED:
            kept, reason = _RETIRED[dotted]
            if value != kept:
                raise ConfigError(
                    f"{dotted}: {short(value)} is no setting any more ({source}): {reason}"
                )
            return
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
        elif value is not None:  # an empty section, e.g. with all lines commented out
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
        """Origins of the keys named in a message, in parentheses; empty if all are defaults."""
        named = (key.rstrip(".") for key in re.findall(r"[a-z_.]+", text))
        sources = dict.fromkeys(self._origin[key] for key in named if key in self._origin)
        return f" ({', '.join(sources)})" if sources else ""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value in a tree of sections."""
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

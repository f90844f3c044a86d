# SPDX-License-Identifier: MIT
"""A strict YAML reader: ambiguous values are errors instead of silent surprises.

PyYAML implements YAML 1.1, in which `off` is false, `0777` is 511, `12:30` is 750, `1e-3` is a
string, and the last of two equal keys silently wins. This reader follows YAML 1.2's core schema. It
refuses values that the two versions read differently, with the line number, and also duplicate
keys, aliases, keys that are not strings, and numbers that are not finite.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
)
_TRAPS = (
    (
        re.compile(r"^[-+]?(?:0[0-9_]+|0[xob][0-9a-fA-F_]+)$"),
        "looks octal or hexadecimal: write a decimal number, or quote it",
    ),
    (
        re.compile(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9]*)?$"),
        "would be a base-60 number: write a decimal number, or quote it",
    ),
    (
        re.compile(r"^[-+]?\.?(?:nan|inf)$", re.IGNORECASE),
        "is not a finite number",
    ),
)
_TRAP_TAG = "!trap"


class YamlError(ValueError):
    """A text is not acceptable YAML; the message says what is wrong and where, in one line."""


class _StrictLoader(yaml.SafeLoader):
    """Loader for YAML 1.2 core scalars, without duplicate keys and aliases."""

    # Replaces SafeLoader's table, which has the rules of YAML 1.1.
    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; refuse aliases, which allow documents that expand exponentially."""
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, f"the alias *{event.anchor} is not accepted", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; refuse keys that are not strings and duplicate keys."""
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _at(key_node, f"the key {key_node.value!r} is not a name: quote it")
            if key in out:
                raise _at(key_node, f"the key {key!r} is there twice")
            out[key] = self.construct_object(value_node, deep=True)
        return out


def _at(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _construct_map(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


def _construct_int(_loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    if not _INT.match(node.value):
        raise _at(node, f"{node.value!r} is not a decimal integer")
    return int(node.value)


def _construct_float(_loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    if not (_FLOAT.match(node.value) or _INT.match(node.value)):
        raise _at(node, f"{node.value!r} is not a finite decimal number")
    value = float(node.value)
    if not math.isfinite(value):
        raise _at(node, f"{node.value!r} is too large")
    return value


def _construct_bool(_loader: _StrictLoader, node: yaml.ScalarNode) -> bool:
    if not _BOOL.match(node.value):
        raise _at(node, f"{node.value!r} is not true or false")
    return str(node.value).lower() == "true"


def _construct_trap(_loader: _StrictLoader, node: yaml.ScalarNode) -> None:
    for pattern, why in _TRAPS:
        if pattern.match(node.value):
            raise _at(node, f"{node.value!r} {why}")


for _tag, _pattern in (
    ("tag:yaml.org,2002:null", _NULL),
    ("tag:yaml.org,2002:bool", _BOOL),
    ("tag:yaml.org,2002:int", _INT),
    ("tag:yaml.org,2002:float", _FLOAT),
    *((_TRAP_TAG, trap) for trap, _ in _TRAPS),
):
    _StrictLoader.add_implicit_resolver(_tag, _pattern, None)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
_StrictLoader.add_constructor(_TRAP_TAG, _construct_trap)


def load_yaml(text: str | bytes, source: str) -> Any:
    """Read one YAML document.

    Args:
        text: the document.
        source: file name or flag that it comes from, for messages.

    Returns:
        Plain Python values: dict, list, str, int, float, bool or None.

    Raises:
        YamlError: the text is not acceptable YAML.
    """
    try:
        # Safe: a subclass of SafeLoader constructs plain values only.
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        is_file = not source.startswith("--")
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and is_file else ""
        problem = error.problem or error.context or "not YAML"
        if (
            problem.startswith("but ") and error.context
        ):  # PyYAML splits some sentences into context and problem
            problem = f"{error.context}, {problem}"
        raise YamlError(f"{source}{line}: {_one_line(problem)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlError(f"{source}: not YAML text: {_one_line(str(error))}") from None
    except RecursionError:
        raise YamlError(f"{source}: nested too deeply") from None
    except ValueError as error:  # int() refuses numbers of thousands of digits
        raise YamlError(f"{source}: {_one_line(str(error))}") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())

# SPDX-License-Identifier: MIT
"""Error messages for values that a schema refuses: one line with the key, the value and a hint.

All files that are checked by a pydantic model (configuration, study, calibration, bindings, camera)
report their errors through `explain`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

MAX_VALUE_CHARS = 60


def explain(
    error: ValidationError,
    model: type[BaseModel],
    sources: Callable[[str], str] = lambda text: "",
) -> str:
    """Describe the first problem of a pydantic error in one line.

    Args:
        error: what validating against `model` raised.
        model: the model; its keys serve as suggestions for unknown ones.
        sources: maps a text with dotted keys to a note on where their values came from, such as
            " (--set run.seed=x)"; empty by default.

    Returns:
        The dotted key, the refused value, its source, and what is expected.
    """
    keys = list(dotted_keys(model))
    # An unknown key can also make a required one missing; the unknown key is the cause.
    found = error.errors(include_url=False)
    first = min(found, key=lambda one: one["type"] != "extra_forbidden")
    key = _key(part for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        near = nearest_key(key, keys)
        section = key.rpartition(".")[0]
        hint = (
            f"did you mean {near!r}?" if near else f"use one of {', '.join(_inside(section, keys))}"
        )
        return f"unknown key {key!r}; {hint}"
    if first["type"] == "missing":
        return f"the key {key!r} is missing{sources(key)}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] == "value_error":  # from a validator of ours, about a whole section
        text = _under(key, message, keys)
        return text + sources(text)
    if first["type"] in ("bool_type", "bool_parsing"):
        message = "should be true or false"
    hint = _literal_hint(message, first["input"]) if first["type"] == "literal_error" else ""
    if not key:
        return f"the file: {message}, not {short(first['input'])}"
    return f"{key} = {short(first['input'])}{sources(key)}: {message}{hint}"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word in `words` that `word` is most likely a misspelling of; None if none is close."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return close[0] if close else None


def nearest_key(dotted: str, keys: Sequence[str]) -> str | None:
    """The dotted key that is most likely meant: same last part, else similar spelling; or None."""
    last = dotted.rpartition(".")[2]
    for key in keys:
        if key.rpartition(".")[2] == last:
            return key
    near = nearest(dotted, keys)
    if near is not None:
        return near
    by_last = {key.rpartition(".")[2]: key for key in reversed(keys)}
    near = nearest(last, by_last)
    return by_last[near] if near else None


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a model's values, then of its sections."""
    sections = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from dotted_keys(field.annotation, f"{prefix}{name}.")
            sections.append(f"{prefix}{name}")
        else:
            yield f"{prefix}{name}"
    yield from sections


def short(value: Any) -> str:
    """A value as Python text, in one line and cut to `MAX_VALUE_CHARS` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."


def _inside(section: str, keys: Sequence[str]) -> list[str]:
    """Names of the values and sections directly below a section; "" is the top."""
    prefix = f"{section}." if section else ""
    below = (key.removeprefix(prefix).partition(".")[0] for key in keys if key.startswith(prefix))
    return list(dict.fromkeys(below))


def _key(location: Iterable[int | str]) -> str:
    """Names joined by dots, places in a list in brackets: `zero_rad[3]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _under(section: str, message: str, keys: Sequence[str]) -> str:
    """A section's message; `section.key ...` if the message starts with one of its keys."""
    if not section:
        return message
    first_word = re.split(r"[ :]", message, maxsplit=1)[0]
    joint = "." if f"{section}.{first_word}" in keys else ": "
    return f"{section}{joint}{message}"


def _literal_hint(message: str, value: object) -> str:
    near = nearest(value, re.findall(r"'([^']+)'", message)) if isinstance(value, str) else None
    return f"; did you mean {near!r}?" if near else ""

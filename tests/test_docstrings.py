# SPDX-License-Identifier: MIT
"""Public docstrings are sentences, document what is raised, and prose is plain English.

Each rule has a ratchet: the number of violations that the code has today. It may only fall. Lower
the constant when you mend some; never raise it.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("robot", "learning", "safety", "hardware", "sim", "native", "configs")

RATCHET = {"sentence": 0, "raises": 0, "plain_english": 0}

MIN_WORDS = 4

# Words of a dialect that costs a reader two readings: persons that stand for parts of the program,
# and verbs of speech for data flow. Name the part and what it does instead.
BANNED = (
    "nobody",  # "no process", "no reader", "unattended"
    "somebody",  # "a person", "another process"
    "whoever",  # "the caller"
    "anybody",
    "everybody",
    "is told",  # "receives", "is notified of"
    "are told",
    "says so itself",
    "what came of it",  # "the result"
    "the way back",  # "the backward pass", "the return path"
    "the wish to",  # "a request to"
    "lets go of",  # "releases"
    "let go of",
    "gets on",  # "progress"
    "now and then",  # "sometimes", or the rate
    "looks after",  # "manages"
    "in vain",  # "without effect"
)
_BANNED = re.compile(r"\b(" + "|".join(BANNED) + r")\b", re.IGNORECASE)

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def public_objects(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and public methods of those classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield inner


def is_sentence(docstring: str) -> bool:
    """Whether it starts with a sentence: a capital or an array's shape, four words, a full stop."""
    first = docstring.strip().split("\n\n")[0]
    whole = re.sub(r"\s+", " ", first)
    starts = whole[:1].isupper() or whole[:1] in "(`"
    return starts and whole.endswith(".") and len(whole.split()) >= MIN_WORDS


def raised(function: ast.FunctionDef) -> set[str]:
    """Errors that the function's own statements raise by name."""
    names = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(call, ast.Name) and call.id[:1].isupper():
                names.add(call.id)
        waiting.extend(ast.iter_child_nodes(node))
    return names


def sentence_violations() -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sources()
        for node in public_objects(ast.parse(path.read_text(encoding="utf-8")))
        if not is_sentence(ast.get_docstring(node) or "")
    ]


def raises_violations() -> list[str]:
    found = []
    for path in sources():
        for node in public_objects(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                continue
            documented = (ast.get_docstring(node) or "").partition("Raises:")[2]
            for name in sorted(raised(node)):
                if not re.search(rf"\b{name}\b", documented):
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    found.append(f"{where}: {node.name} raises {name}, its docstring does not say")
    return found


def prose_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of a file's prose: comments and strings of Python, all of Markdown."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    strings = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    with tokenize.open(path) as stream:
        for token in tokenize.generate_tokens(stream.readline):
            if token.type in strings:
                for offset, line in enumerate(token.string.splitlines()):
                    yield token.start[0] + offset, line


def plain_english_violations() -> list[str]:
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = []
    for path in [*sources(), *documents]:
        for number, line in prose_lines(path):
            where = f"{path.relative_to(ROOT)}:{number}"
            found += [f"{where}: {m[0]!r}: {line.strip()}" for m in _BANNED.finditer(line)]
    return found


RULES = {
    "sentence": sentence_violations,
    "raises": raises_violations,
    "plain_english": plain_english_violations,
}


@pytest.mark.parametrize("rule", RULES)
def test_violations_only_become_fewer(rule):
    found = RULES[rule]()
    assert len(found) <= RATCHET[rule], (
        f"{len(found)} violations of {rule!r}, {RATCHET[rule]} are allowed:\n" + "\n".join(found)
    )


def test_the_rules_find_violations():
    assert is_sentence("Returns the speed of a task.")
    assert not is_sentence("Of a task.")
    assert not is_sentence("of a task, in metres a second.")
    assert not is_sentence("Speed of a task in m/s")
    function = ast.parse("def f():\n    raise ValueError('x')").body[0]
    assert isinstance(function, ast.FunctionDef)
    assert raised(function) == {"ValueError"}
    assert _BANNED.search("Nobody reads it.")
    assert not _BANNED.search("The caller reads it.")

# SPDX-License-Identifier: MIT
"""What looks like one thing and means another in YAML is refused, with its line."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from walkhome.robot.config.strict_yaml import YamlError, load_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abcxyz -_/.:é", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcxyz_", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("0", 0),
        ("-12", -12),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("off", "off"),
        ("'0777'", "0777"),
        ("2020-01-01", "2020-01-01"),
        ("[1, 2.5, a]", [1, 2.5, "a"]),
        ("a: {b: 1}", {"a": {"b": 1}}),
    ],
)
def test_scalars_are_yaml_1_2(text, value):
    got = load_yaml(text, "x")
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 0777", "octal"),
        ("a: 0x1F", "hexadecimal"),
        ("a: 0b11", "octal or hexadecimal"),
        ("a: 12:30", "base-60"),
        ("a: 1:30:15", "base-60"),
        ("a: .nan", "finite"),
        ("a: -.inf", "finite"),
        ("a: NaN", "finite"),
        ("a: 1e999", "too large"),
        ("a: !!float .inf", "finite"),
        ("a: !!int 0777", "decimal integer"),
        ("a: 1\nb: 2\na: 3", "there twice"),
        ("b: {a: 1, a: 2}", "there twice"),
        ("1: 2", "not a name"),
        ("a: &x 1\nb: *x", "alias"),
        ("a: !!python/object:os.system {}", "python/object"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: [1", ""),
        ("a: 1\n\tb: 2", ""),
        ("9" * 5000, ""),
        ("[" * 500, ""),
        (b"\xff\xfe\x00", ""),
        ("\x00", ""),
    ],
)
def test_traps_are_refused_in_one_line(text, why):
    with pytest.raises(YamlError) as caught:
        load_yaml(text, "file.yaml")
    message = str(caught.value)
    assert message.startswith("file.yaml")
    assert why in message
    assert "\n" not in message


def test_the_message_names_the_line():
    with pytest.raises(YamlError, match=r"^f\.yaml:3: '0777'"):
        load_yaml("a: 1\nb: 2\nc: 0777\n", "f.yaml")


def test_a_flag_has_no_lines():
    with pytest.raises(YamlError, match=r"^--set a=0777: '0777'"):
        load_yaml("0777", "--set a=0777")


@given(PLAIN)
def test_what_pyyaml_writes_is_read_back(value):
    # Floats come back as numbers even where YAML 1.1 would need another spelling.
    got = load_yaml(yaml.safe_dump(value, allow_unicode=True), "x")
    assert got == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_survives(value):
    got = load_yaml(f"a: {value!r}", "x")["a"]
    assert math.isclose(got, value, rel_tol=0.0, abs_tol=0.0)

# SPDX-License-Identifier: MIT
"""Compilation at first use: once, again after any change, and errors with a reason."""

import ctypes

import pytest

from walkhome.native import compiled
from walkhome.native.compiled import NotCompiled, bfloat16_pays, has_bfloat16, load_library


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "walkhome"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "answer.c"
    path.write_text('#include "answer.h"\nint answer(void) { return ANSWER; }\n')
    (tmp_path / "answer.h").write_text("#define ANSWER 41\n")
    return path


def answer(source, *flags):
    library = load_library(source, flags, [source.with_suffix(".h")])
    assert isinstance(library, ctypes.CDLL)
    return library.answer()


def test_compiled_once(cache, source):
    assert answer(source) == 41
    (kept,) = cache.iterdir()
    before = kept.stat().st_mtime_ns
    assert answer(source) == 41
    assert [p.stat().st_mtime_ns for p in cache.iterdir()] == [before]


def test_a_changed_source_header_or_flag_is_compiled_again(cache, source):
    assert answer(source) == 41
    source.with_suffix(".h").write_text("#define ANSWER 42\n")
    assert answer(source) == 42
    source.write_text(source.read_text().replace("ANSWER;", "-ANSWER;"))
    assert answer(source) == -42
    assert answer(source, "-DUNUSED") == -42
    assert len(list(cache.iterdir())) == 4


def test_what_does_not_compile(cache, source):
    source.write_text("int answer(void) { return nothing; }\n")
    with pytest.raises(NotCompiled, match="nothing"):
        answer(source)
    assert list(cache.iterdir()) == []


def test_without_a_compiler(cache, source, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotCompiled, match="install gcc"):
        answer(source)


def test_a_cache_that_can_not_be_written(tmp_path, source, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(NotCompiled, match="file"):
        answer(source)


def test_a_damaged_library(cache, source, tmp_path, monkeypatch):
    answer(source)
    (kept,) = cache.iterdir()
    other = tmp_path / "other" / "walkhome"
    other.mkdir(parents=True)
    (other / kept.name).write_bytes(b"no library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(other.parent))
    with pytest.raises(NotCompiled, match=kept.name):
        answer(source)


@pytest.mark.parametrize(
    ("flags", "known"), [("fpu avx512f avx512_bf16", True), ("fpu avx2 avx512_bf16x", False)]
)
def test_what_the_processor_can(flags, known, monkeypatch):
    monkeypatch.setattr(compiled, "_processor", lambda: f"flags : {flags}")
    assert has_bfloat16() is known


@pytest.mark.parametrize(
    ("vendor", "flags", "pays"),
    [
        ("AuthenticAMD", "fpu avx512f avx512_bf16", True),
        ("AuthenticAMD", "fpu avx512f", False),
        ("GenuineIntel", "fpu avx512f avx512_bf16 amx_bf16", False),
    ],
)
def test_where_bfloat16_is_known_to_be_faster(vendor, flags, pays, monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    core = f"vendor_id\t: {vendor}\nmodel name\t: one\nflags\t\t: {flags}\n\n"
    info.write_text(core * 2)
    monkeypatch.setattr(compiled, "Path", lambda path: info)
    assert bfloat16_pays() is pays

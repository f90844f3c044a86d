# SPDX-License-Identifier: MIT
"""A C file as a library in this process: compiled once, kept in the user's cache.

The name of what is kept holds a hash of sources, flags, compiler and processor, so that neither a
changed source nor another machine's cache (a home folder on a network) is ever run as an old one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from walkhome.user_folders import cache_folder


class NotCompiled(Exception):  # noqa: N818 - a state of affairs, not a mistake
    """There is no C compiler, or it refuses; the message says which and why."""


def load_library(source: Path, flags: Sequence[str], headers: Sequence[Path] = ()) -> ctypes.CDLL:
    """Compile if need be, and load.

    Args:
        source: the C file.
        flags: for the compiler.
        headers: what the source includes, for the hash.

    Raises:
        NotCompiled: there is no compiler, it refuses, or the cache can't be written.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NotCompiled("there is no C compiler (cc): install gcc")
    texts = [path.read_bytes() for path in (source, *headers)]
    told = "\0".join((*flags, os.path.realpath(compiler), _processor())).encode()
    name = hashlib.sha256(b"\0".join((*texts, told))).hexdigest()[:16]
    path = cache_folder() / f"{source.stem}-{name}.so"
    try:
        if not path.exists():
            _compile(compiler, source, flags, path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NotCompiled(f"{path}: {error}") from error


def _compile(compiler: str, source: Path, flags: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    command = [compiler, *flags, "-shared", "-fPIC", "-o", str(draft), str(source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        draft.unlink(missing_ok=True)
        raise NotCompiled(f"{source}: does not compile: {done.stderr.strip()}")
    draft.replace(path)  # whole, also when two processes compile at once


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 as such; it is slow where it has to pretend."""
    return bool({"avx512_bf16", "amx_bf16"} & set(_processor().split()))


def bfloat16_pays() -> bool:
    """Whether such products are known to be faster here than those of float32.

    They are on AMD's processors with the instructions, and were half as fast on an Intel Xeon
    (docs/log.md). By the maker, not by a measurement: a run's bytes must not hang on a clock.
    """
    return has_bfloat16() and "AuthenticAMD" in _processor().split()


def _processor() -> str:
    """What `-march=native` depends on."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return f"{platform.machine()} {platform.processor()}"
    lines = info.read_text().splitlines()
    kept = ("vendor_id", "model name", "flags", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(kept)))

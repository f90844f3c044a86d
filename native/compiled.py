# SPDX-License-Identifier: MIT
"""Compiles a C file once, keeps the library in the user's cache, and loads it.

    source, headers, flags, compiler, processor --> hash --> <cache>/<name>-<hash>.so

The hash makes sure that neither an older source nor the library of another machine (a home folder
on a network) is ever loaded. The folder is XDG_CACHE_HOME/walkhome, or ~/.cache/walkhome.
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
    """There is no C compiler, or it failed; the message says which and why."""


def load_library(source: Path, flags: Sequence[str], headers: Sequence[Path] = ()) -> ctypes.CDLL:
    """Compile a C file unless the cache has it, and load the library.

    Args:
        source: The C file.
        flags: Compiler flags.
        headers: All headers that the source includes from its own folder; part of the hash.

    Raises:
        NotCompiled: There is no compiler, it failed, or the cache can't be written.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NotCompiled("there is no C compiler (cc): install gcc")
    texts = [path.read_bytes() for path in (source, *headers)]
    settings = "\0".join((*flags, os.path.realpath(compiler), _processor())).encode()
    name = hashlib.sha256(b"\0".join((*texts, settings))).hexdigest()[:16]
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
    draft.replace(path)  # atomic: two processes may compile at once


def has_bfloat16() -> bool:
    """True if this processor has instructions for bfloat16 products."""
    return bool({"avx512_bf16", "amx_bf16"} & set(_processor().split()))


def bfloat16_pays() -> bool:
    """True if bfloat16 products are known to be faster than float32 products on this processor.

    They are on AMD processors with the instructions, and were half as fast on an Intel Xeon
    (docs/log.md). Decided by the vendor, not by a measurement: a run must not depend on timing.
    """
    return has_bfloat16() and "AuthenticAMD" in _processor().split()


def _processor() -> str:
    """The processor's model and features, on which `-march=native` depends."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return f"{platform.machine()} {platform.processor()}"
    lines = info.read_text().splitlines()
    kept = ("vendor_id", "model name", "flags", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(kept)))

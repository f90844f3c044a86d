# SPDX-License-Identifier: MIT
"""Checkpoint folders: written in one step, and checked completely before use.

    <folder>/learner.safetensors   the tensors
             state.json            the scalars
             <name>                further files of the caller
             manifest.json         size and SHA-256 of every file, written last

A checkpoint is written into a temporary folder, every file and the folder are synced, and the
folder is renamed. So a crash leaves a complete checkpoint or none. Loading checks every byte
against the manifest before it returns anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkhome.durable_files import create_file, sync_folder

FORMAT = 1
_MANIFEST = "manifest.json"
_ADVICE = "resume from an older checkpoint of the same run"


class CheckpointInvalid(ValueError):  # noqa: N818 (what it is, not that it is one)
    """A checkpoint is unusable; the message says what, where, and what to do next."""


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    scalars: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a checkpoint folder in one step.

    Args:
        path: The folder to create; it must not exist.
        tensors: Arrays by name.
        scalars: JSON-able, finite.
        files: Content of further files, by name (for example a policy).

    Returns:
        The folder.

    Raises:
        CheckpointInvalid: The folder exists, or a number is not finite; nothing is written.
        OSError: The disk is full or reports an error.
    """
    from safetensors.numpy import save as to_bytes

    folder = Path(path)
    if folder.exists():
        raise CheckpointInvalid(f"{folder} exists and is not overwritten: choose another name")
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointInvalid(
                f"{name} is not finite: refusing to save {folder}; the last one stays valid"
            )
    contents = {
        "learner.safetensors": to_bytes(
            {
                name: np.ascontiguousarray(array).reshape(array.shape)
                for name, array in tensors.items()
            }
        ),
        "state.json": json.dumps(dict(scalars), allow_nan=False, indent=1).encode(),
        **(files or {}),
    }
    manifest = {
        "format": FORMAT,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
    }
    contents[_MANIFEST] = json.dumps(manifest, indent=1).encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.partial")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    for name, data in contents.items():
        create_file(temporary / name, data)
    sync_folder(temporary)
    temporary.rename(folder)
    sync_folder(folder.parent)
    return folder


def load(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a checkpoint folder after checking every byte of it.

    Returns:
        The tensors by name, and the scalars.

    Raises:
        CheckpointInvalid: A file is missing, incomplete or altered, the format is another one, or
            a number is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    folder = Path(path)
    contents = _verified(folder)
    try:
        tensors = from_bytes(contents["learner.safetensors"])
        scalars = json.loads(contents["state.json"])
    except (KeyError, ValueError, SafetensorError) as error:
        raise CheckpointInvalid(f"checkpoint {folder}: {error!r}; {_ADVICE}") from error
    if not isinstance(scalars, dict):
        raise CheckpointInvalid(f"checkpoint {folder}: state.json is no object; {_ADVICE}")
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointInvalid(f"checkpoint {folder}: {name} is not finite; {_ADVICE}")
    return tensors, scalars


def _verified(folder: Path) -> dict[str, bytes]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        listed = {
            str(name): (int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        }
        found_format = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointInvalid(
            f"checkpoint {folder}: {_MANIFEST} is unusable ({error!r}); {_ADVICE}"
        ) from error
    if found_format != FORMAT:
        raise CheckpointInvalid(
            f"checkpoint {folder}: format {found_format}, this program reads {FORMAT}; "
            "use the version that wrote it"
        )
    contents: dict[str, bytes] = {}
    for name, (size, digest) in listed.items():
        if Path(name).name != name:
            raise CheckpointInvalid(f"checkpoint {folder}: names {name!r} outside it; {_ADVICE}")
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise CheckpointInvalid(f"checkpoint {folder}: {error}; {_ADVICE}") from error
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointInvalid(
                f"checkpoint {folder}: {name} is not what was written "
                f"({len(data)} bytes, {size} expected); {_ADVICE}"
            )
        contents[name] = data
    return contents

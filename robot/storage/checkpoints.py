# SPDX-License-Identifier: MIT
"""A run's checkpoints: saving, pruning, and loading the newest usable one.

    RUN/checkpoints/<records>/   a checkpoint (`learning.checkpoint`), named by the journal's length
    RUN/latest                   name of the newest checkpoint, written after it
    RUN/best                     name of the checkpoint with the highest score

The newest `KEEP` checkpoints and the best one are kept. A folder whose name starts with a dot is
being written or removed, and is ignored.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from walkhome.durable_files import write_atomically
from walkhome.learning.checkpoint import CheckpointInvalid, load, save
from walkhome.robot.storage.atomic_files import write_text
from walkhome.robot.storage.run_folder import RunFolder

KEEP = 3


def diverged(gradient_steps: int) -> FloatingPointError:
    """The error to raise instead of saving a learner whose weights are not finite."""
    return FloatingPointError(
        f"the learner diverged after {gradient_steps} updates: a weight is not finite; nothing was "
        "saved over the last checkpoint. Lower learning.learning_rate"
    )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified by its checksums.

    Attributes:
        path: the checkpoint's folder.
        tensors: arrays by name.
        scalars: all other state, as read from JSON.
    """

    path: Path
    tensors: dict[str, npt.NDArray[Any]]
    scalars: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._folder = run.checkpoints

    def save(
        self,
        records: int,
        tensors: Mapping[str, npt.NDArray[Any]],
        scalars: Mapping[str, Any],
        files: Mapping[str, bytes],
        best: bool,
    ) -> Path:
        """Write a checkpoint, mark it as the newest, then remove old ones.

        Args:
            records: length of the journal at this moment; names the checkpoint.
            tensors: arrays by name.
            scalars: all other state, JSON-able.
            files: content of further files, by name.
            best: True if its score is the highest so far.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointInvalid: a number is not finite; nothing was written.
            OSError: it can't be written; the older checkpoints are untouched.
        """
        folder = self._folder / f"{records:09d}"
        if folder.exists():  # of the same moment, or damaged and skipped on resume
            self._remove(folder)
        save(folder, tensors, scalars, files)
        write_text(self._run.path / "latest", folder.name + "\n")
        if best:
            write_text(self._run.path / "best", folder.name + "\n")
        self._prune()
        return folder

    def load(self, use: Callable[[Checkpoint], None], warn: Callable[[str], None]) -> Checkpoint:
        """Load the newest usable checkpoint.

        Args:
            use: restores the state; raises ValueError, KeyError or TypeError if the checkpoint does
                not fit the configuration.
            warn: called with a message for each checkpoint that can't be used.

        Returns:
            The checkpoint that `use` accepted.

        Raises:
            CheckpointInvalid: no checkpoint is usable; the message says what to do.
        """
        tried = 0
        for path in self._newest_first():
            tried += 1
            try:
                checkpoint = Checkpoint(path, *load(path))
                use(checkpoint)
            except (ValueError, KeyError, TypeError) as error:
                warn(f"{path} can't be used, going back one: {error}")
            else:
                return checkpoint
        found = f"none of its {tried} checkpoints can be used" if tried else "it has no checkpoint"
        raise CheckpointInvalid(
            f"{self._run.path}: {found}, so it can't be resumed. Its journal is untouched: "
            "`robot report` and `robot export` read it; start a new run to learn again"
        )

    def exist(self) -> bool:
        """True if there is a checkpoint, usable or not."""
        return any(self._newest_first())

    def clean(self) -> None:
        """Remove incomplete folders that a crash left behind."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name.startswith("."):
                    shutil.rmtree(path, ignore_errors=True)

    def _newest_first(self) -> Iterator[Path]:
        if self._folder.is_dir():
            names = (p for p in self._folder.iterdir() if p.name.isdigit() and p.is_dir())
            yield from sorted(names, key=lambda path: int(path.name), reverse=True)

    def _prune(self) -> None:
        best = self._run.path / "best"
        keep = best.read_text(encoding="utf-8").strip() if best.is_file() else ""
        for path in list(self._newest_first())[KEEP:]:
            if path.name != keep:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        # Rename first, so that a partly removed folder never has a checkpoint's name.
        trash = path.with_name(f".{path.name}.removed")
        shutil.rmtree(trash, ignore_errors=True)
        path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def save_checkpoint(
    run: RunFolder,
    records: int,
    tensors: Mapping[str, npt.NDArray[Any]],
    scalars: Mapping[str, Any],
    policy: bytes,
    best: bool,
) -> Path:
    """Write a checkpoint with its policies, and the policies as the run's newest.

    Args:
        run: the run's folder.
        records: as for `Checkpoints.save`.
        tensors: as for `Checkpoints.save`.
        scalars: as for `Checkpoints.save`.
        policy: content of policy.safetensors.
        best: as for `Checkpoints.save`.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointInvalid: as for `Checkpoints.save`.
        OSError: as for `Checkpoints.save`.
    """
    folder = Checkpoints(run).save(records, tensors, scalars, {"policy.safetensors": policy}, best)
    write_atomically(run.path / "policy.safetensors", policy)
    return folder

# SPDX-License-Identifier: MIT
"""A run's checkpoints: made whole, kept few, and found again.

    RUN/checkpoints/<records>/   one (`learning.checkpoint`), named by the journal's length
    RUN/latest                   name of the newest, written last
    RUN/best                     name of the one with the highest score

The last `KEEP` and the best stay. A folder whose name starts with a dot is being written or being
removed, and means nothing.
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
    """What to raise instead of saving a learner that is not finite."""
    return FloatingPointError(
        f"the learner diverged after {gradient_steps} updates: a weight is not finite; nothing was "
        "saved over the last checkpoint. Lower learning.learning_rate"
    )


@dataclass(frozen=True)
class Checkpoint:
    """One that was read and proven whole.

    Attributes:
        path: its folder.
        tensors: arrays by name.
        scalars: everything else.
    """

    path: Path
    tensors: dict[str, npt.NDArray[Any]]
    scalars: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run: its folder.
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
        """Write one, then say that it is the newest, then let the oldest go.

        Args:
            records: length of the journal that belongs to it; this names it.
            tensors: arrays by name.
            scalars: JSON-able.
            files: more files to keep in it.
            best: whether it is better than all before.

        Raises:
            CheckpointInvalid: a number in it is not finite; nothing was written.
            OSError: the disk does not take it; the older ones are untouched.
        """
        folder = self._folder / f"{records:09d}"
        if folder.exists():  # of the same moment, or a damaged one that resuming went behind
            self._remove(folder)
        save(folder, tensors, scalars, files)
        write_text(self._run.path / "latest", folder.name + "\n")
        if best:
            write_text(self._run.path / "best", folder.name + "\n")
        self._prune()
        return folder

    def load(self, use: Callable[[Checkpoint], None], warn: Callable[[str], None]) -> Checkpoint:
        """Use the newest checkpoint that can be used.

        Args:
            use: takes it; raises ValueError or KeyError if it does not fit the configuration.
            warn: told of each one that can't be used.

        Raises:
            CheckpointInvalid: there is none; what to do is in the message.
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
        """Whether there is any, usable or not."""
        return any(self._newest_first())

    def clean(self) -> None:
        """Remove what a crash left half made or half removed."""
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
        # Renamed first: half a checkpoint never has a checkpoint's name.
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
    """Write one with its policy, and the policy as the run's newest; see `Checkpoints.save`."""
    folder = Checkpoints(run).save(records, tensors, scalars, {"policy.safetensors": policy}, best)
    write_atomically(run.path / "policy.safetensors", policy)
    return folder

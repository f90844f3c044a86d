# SPDX-License-Identifier: MIT
"""The folder of a study on disk: its settings, its runs and their state.

runs/ablations/<study>/  study.yaml            the resolved study; marks the folder as a study's
                         runs/<variant>/s<n>/  run folders of `robot learn`, with evaluation.json
                         logs/<variant>-s<n>.log  output of the runs' processes
                         failed.json           runs that failed, each with its error
                         report/               index.html, statistics.json, figures
                         lock                  held by the process that runs the study

A folder belongs to one study with fixed settings; results of earlier seeds are never dropped.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import yaml

from walkhome.named_lock import LockHeld, NamedLock
from walkhome.robot.ablation.job import is_finished
from walkhome.robot.ablation.study import Job, Study, plan, seeds_of
from walkhome.robot.config.resolve import ConfigError, leaves, read_config
from walkhome.robot.config.strict_yaml import YamlError, load_yaml
from walkhome.robot.storage.atomic_files import why, write_json, write_text
from walkhome.robot.storage.run_folder import RunError


class StudyFolder:
    """The folder of one study; as a context manager it holds the folder's lock.

    Args:
        path: path of the folder; if it exists, it must belong to the same study (`check`).
        study: the study.

    Attributes:
        path: path of the folder.
        study: the study.
        jobs: all runs of the study, of the requested seeds and of those already in the folder.
    """

    def __init__(self, path: Path, study: Study) -> None:
        self.path, self.study = path, study
        self._lock: NamedLock | None = None
        seeds = sorted({*seeds_of(study), *self._seeds_there()})
        self.jobs = plan(study, seeds)

    def check(self) -> None:
        """Refuse a folder that belongs to another study or program; writes nothing.

        Raises:
            RunError: the folder belongs to another study or program, its runs have other settings,
                or it cannot be written.
        """
        path = self.path
        parent = path.absolute()
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise RunError(f"{path}: {parent} can't be written to; choose another --out")
        if path.is_dir() and any(path.iterdir()):
            known = self._manifest()
            if known is None:
                raise RunError(
                    f"{path}: the folder holds something other than a study; choose another --out"
                )
            if known.get("study") != self.study.name:
                raise RunError(
                    f"{path}: the folder belongs to the study {known.get('study')!r}, not "
                    f"{self.study.name!r}; choose another --out"
                )
            self._check_evaluation(known)
            self._check_variants()
        for job in self.jobs:
            config = path / job.folder / "config.yaml"
            if config.is_file():
                self._check_same(job, config)

    def open(self) -> None:
        """Create and lock the folder, and write study.yaml.

        Raises:
            RunError: another process runs this study, or the folder cannot be written.
        """
        try:
            (self.path / "logs").mkdir(parents=True, exist_ok=True)
            lock = NamedLock(self.path / "lock")
            lock.acquire(f"on {platform.node()}")
            self._lock = lock
            write_text(self.path / "study.yaml", self._manifest_text())
        except LockHeld as held:
            raise RunError(
                f"{self.path}: {held.holder} runs this study; wait for it, or stop it"
            ) from None
        except OSError as error:
            raise RunError(f"{self.path}: can't be written: {why(error)}") from None

    def close(self) -> None:
        """Release the lock, if it is held."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> StudyFolder:
        """Open the folder; see `open`."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self.close()

    def run_of(self, job: Job) -> Path:
        """Return the path of a run's folder."""
        return self.path / job.folder

    def log_of(self, job: Job) -> Path:
        """Return the path of the log of a run's process."""
        return self.path / "logs" / f"{job.name}.log"

    def finished(self, job: Job) -> bool:
        """Return whether a run has finished learning and its evaluation is on disk."""
        return is_finished(self.run_of(job))

    def failures(self) -> dict[str, str]:
        """Return the failed runs as {name of the run: error}.

        Raises:
            RunError: failed.json is damaged.
        """
        path = self.path / "failed.json"
        if not path.is_file():
            return {}
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise RunError(f"{path}: not JSON; remove it to retry the failed runs") from None
        return {str(name): str(text) for name, text in known.items()}

    def note_failure(self, job: Job, reason: str) -> None:
        """Store in failed.json that a run failed, and why."""
        write_json(self.path / "failed.json", {**self.failures(), job.name: reason})

    def forget_failures(self) -> None:
        """Remove failed.json, so that failed runs are retried from their checkpoints."""
        (self.path / "failed.json").unlink(missing_ok=True)

    def _seeds_there(self) -> set[int]:
        """Seeds of earlier runs of the same study."""
        names = (path.name for path in (self.path / "runs").glob("*/s*"))
        return {int(name[1:]) for name in names if name[1:].isdigit()}

    def _manifest(self) -> dict[str, Any] | None:
        path = self.path / "study.yaml"
        if not path.is_file():
            return None
        try:
            value = load_yaml(path.read_bytes(), str(path))
        except (YamlError, OSError) as error:
            raise RunError(str(error)) from None
        return value if isinstance(value, dict) else None

    def _manifest_text(self) -> str:
        study = self.study
        value = {
            "study": study.name,
            **study.file.model_dump(mode="json"),
            "seeds": sorted({job.seed for job in self.jobs}),
            "reference": study.reference,
            "changed": study.changed(),
        }
        return str(yaml.safe_dump(value, sort_keys=False))

    def _check_evaluation(self, known: dict[str, Any]) -> None:
        there, mine = known.get("evaluate"), self.study.file.evaluate.model_dump(mode="json")
        if there is not None and there != mine:
            raise RunError(
                f"{self.path}: its runs were evaluated with {there}, this study evaluates with "
                f"{mine}; choose another --out"
            )

    def _check_variants(self) -> None:
        """Refuse runs of unknown variants; the page would omit them silently."""
        there = (path.name for path in (self.path / "runs").glob("*") if any(path.glob("s*")))
        for name in there:
            if name not in self.study.configs:
                raise RunError(
                    f"{self.path}: the folder has runs of {name!r}, which is not a variant of this "
                    "study; choose another --out, or move them away"
                )

    def _check_same(self, job: Job, path: Path) -> None:
        try:
            there = read_config(path)
        except ConfigError as error:
            raise RunError(str(error)) from None
        if there == job.config:
            return
        mine = dict(leaves(job.config.model_dump(mode="json")))
        theirs = dict(leaves(there.model_dump(mode="json")))
        key = next(key for key in mine if mine[key] != theirs[key])
        raise RunError(
            f"{self.path}: its run {job.name} has {key} = {theirs[key]}, this study has "
            f"{mine[key]}; choose another --out, or restore the settings of that run"
        )

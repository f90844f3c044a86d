# SPDX-License-Identifier: MIT
"""Runs the jobs of a study on a Ray cluster (extra `cluster`).

Each Ray task starts one run's process (`robot.ablation.job`), as the local engine does, so a seed
gives the same bytes. Every node needs this version of walkhome with the twin, and one core per run.

    The node sees the study's folder on a shared file system: the run is written there, and
        continues from its checkpoint if its node dies.
    The node does not see it: the run is written on the node's own disk, and its files return
        through Ray's object store. If the node dies, the run starts from the beginning.

Ray restarts a task when its node dies, at most `RETRIES` times. A run is never done twice: its
folder is locked, and a finished run is skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from walkhome.robot.ablation.engine import (
    STARTED,
    STOPPED,
    EngineError,
    ProgressListener,
    failure_reason,
    record_end,
    run_process,
)
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.job import encode_order, is_finished
from walkhome.robot.ablation.study import Job
from walkhome.robot.control.stop_request import StopRequest

RETRIES = 20
CONNECT_S = 5.0
SHARED = ".shared"


class NodeResult(TypedDict):
    """Exit code and files of a run's process on its node.

    Attributes:
        code: exit code of the process.
        why: reason of a failure; empty if the code is 0.
        files: contents by path in the run's folder; empty if the folder is shared.
    """

    code: int
    why: str
    files: dict[str, bytes]


@contextlib.contextmanager
def _keep_sigterm_handler() -> Iterator[None]:
    """Restore our SIGTERM handler: Ray replaces it with one that ends the program at once."""
    mine = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, mine)


class RayEngine:
    """Runs jobs on a Ray cluster; a context manager that holds the connection.

    Args:
        address: host:port of the cluster; None starts Ray on this machine.
        at_once: maximum number of simultaneous runs; None: the number of the cluster's cores.
        share: let nodes that see the study's folder write into it.

    Raises:
        EngineError: Ray is not installed.
    """

    def __init__(
        self, address: str | None = None, at_once: int | None = None, share: bool = True
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray sends usage statistics
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning of Ray's
        try:
            import ray
        except ImportError:
            raise EngineError(
                '--engine ray needs Ray: pip install "walkhome[cluster]", or use --engine local'
            ) from None
        self._ray = ray
        self._address, self._at_once, self._share = address, at_once, share
        self._mine = False

    def __enter__(self) -> RayEngine:
        """Connect to the cluster, and check that every node can run this version of walkhome.

        Raises:
            EngineError: the cluster does not answer, or a node cannot run walkhome.
        """
        self._mine = not self._ray.is_initialized()
        if self._mine:
            with _keep_sigterm_handler():
                _connect(self._address, self._at_once)
        try:
            _check_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect from the cluster; the tasks' processes stop when their pipe closes."""
        if self._mine:
            self._ray.shutdown()

    def run(
        self,
        folder: StudyFolder,
        jobs: Sequence[Job],
        stop: StopRequest,
        listener: ProgressListener,
    ) -> None:
        """Run the jobs on the cluster; see `robot.ablation.engine.Engine.run`."""
        out = folder.path.absolute()
        note = f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"
        (out / SHARED).write_text(note, encoding="utf-8")
        task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(perform)
        waiting = list(jobs)
        running: dict[Any, Job] = {}
        try:
            while (waiting or running) and not stop.requested:
                while waiting and len(running) < self._limit():
                    job = waiting.pop(0)
                    order = encode_order(job, out)
                    log = str(folder.log_of(job).absolute())
                    answer = task.remote(order, log, str(out), note if self._share else "")
                    running[answer] = job
                    listener.change(job, STARTED)
                done, _ = self._ray.wait(list(running), timeout=1.0)
                for answer in done:
                    _end(folder, running.pop(answer), answer, listener)
                listener.tick()
            for answer, job in running.items():
                self._ray.cancel(answer, force=True)
                listener.change(job, STOPPED)
        finally:
            (out / SHARED).unlink(missing_ok=True)

    def _limit(self) -> int:
        """Maximum number of simultaneous runs now; a cluster may grow and shrink."""
        if self._at_once is not None:
            return self._at_once
        resources = self._ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))


def _connect(address: str | None, at_once: int | None) -> None:
    import ray

    _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        quiet |= {"num_cpus": at_once, "include_dashboard": False}
    try:
        ray.init(address=address or "local", **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        said = " ".join(str(error).split())[:200]
        raise EngineError(f"--address {address}: no Ray cluster there: {said}") from None


def _check_reachable(address: str | None) -> None:
    """Fail at once on a closed port; Ray itself would retry for minutes."""
    if address is None or address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise EngineError(
            f"--address {address}: not an address; write HOST:PORT (as 10.0.0.5:6379) or auto"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"--address {address}: nothing answers there ({error}); start a cluster with "
            "`ray start --head`"
        ) from None


def code_digest() -> str:
    """Return the SHA-256 of walkhome's sources as hexadecimal, to refuse nodes that differ."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    packages = ("native", "hardware", "safety", "learning", "sim", "robot", "configs")
    modules = sorted((root / "walkhome").glob("*.py"))
    for path in [*modules, *(p for name in packages for p in sorted((root / name).rglob("*")))]:
        if path.suffix in (".py", ".yaml"):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _node_facts() -> dict[str, str]:
    """Facts about a node: digest of walkhome's code, Python version, PyBullet installed or not."""
    import importlib.util

    return {
        "code": code_digest(),
        "python": sys.version.split()[0],
        "twin": "yes" if importlib.util.find_spec("pybullet") else "",
    }


def _check_nodes() -> None:
    """Every node of the cluster must have what a run needs, before any is started."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mine = _node_facts()
    look = ray.remote(num_cpus=0, max_retries=2)(_node_facts)
    for node in _living_nodes():
        where = f"Ray's node {node['NodeManagerAddress']}"
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        try:
            theirs = ray.get(look.options(scheduling_strategy=pinned).remote(), timeout=120.0)
        except (ray.exceptions.RayError, ImportError) as error:
            said = str(error).strip().splitlines()[-1][:200]
            raise EngineError(f"{where} can't run walkhome, install it there: {said}") from None
        if theirs["code"] != mine["code"]:
            raise EngineError(f"{where} has another version of walkhome; install this one there")
        if not theirs["twin"]:
            raise EngineError(f'{where} has no twin: pip install "walkhome[sim]" there')


def _living_nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def perform(order: str, log: str, out: str, note: str) -> NodeResult:
    """Run one job on a node, as a Ray task.

    Args:
        order: the run, encoded by `robot.ablation.job.encode_order`.
        log: path of the log file in the study's folder.
        out: path of the study's folder on the machine that started the study.
        note: contents of the file `.shared` in that folder, which tell whether this node sees the
            same folder; empty: use the node's own disk.
    """
    if note and _read_note(Path(out)) == note:
        code = _wait(order, Path(log))
        return {"code": code, "why": failure_reason(code, Path(log)) if code else "", "files": {}}
    with tempfile.TemporaryDirectory(prefix="walkhome-") as scratch:
        own, said = Path(scratch) / "run", Path(scratch) / "log"
        code = _wait(json.dumps({**json.loads(order), "folder": str(own)}) + "\n", said)
        files = {}
        if code == 0:
            paths = (path for path in own.rglob("*") if path.is_file())
            files = {str(path.relative_to(own)): path.read_bytes() for path in paths}
        return {"code": code, "why": failure_reason(code, said) if code else "", "files": files}


def _wait(order: str, log: Path) -> int:
    with run_process(order, log) as process:
        return process.wait()


def _read_note(out: Path) -> str:
    try:
        return (out / SHARED).read_text(encoding="utf-8")
    except OSError:
        return ""


def _end(folder: StudyFolder, job: Job, answer: Any, listener: ProgressListener) -> None:
    import ray

    try:
        result: NodeResult = ray.get(answer)
    except ray.exceptions.RayError as error:
        log = folder.log_of(job)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"error: Ray: {str(error).strip().splitlines()[0]}\n")
        record_end(folder, job, 1, listener)
        return
    if result["files"]:
        _receive(folder.run_of(job), result["files"])
    elif result["code"] and not folder.log_of(job).exists():
        folder.log_of(job).write_text(f"error: {result['why']}\n", encoding="utf-8")
    record_end(folder, job, result["code"], listener)


def _receive(run: Path, files: dict[str, bytes]) -> None:
    """Write a run's folder from its files, atomically; does not replace a finished run."""
    if is_finished(run):
        return
    draft = run.with_name(f".{run.name}.incoming")
    shutil.rmtree(draft, ignore_errors=True)
    for name, data in files.items():
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    shutil.rmtree(run, ignore_errors=True)
    draft.rename(run)

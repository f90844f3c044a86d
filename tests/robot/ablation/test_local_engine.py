# SPDX-License-Identifier: MIT
"""A study with real processes gives the same bytes after stops, kills and failures."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_study import SMALL, bytes_of, write_study

from walkhome.robot.ablation.engine import run_process
from walkhome.robot.ablation.job import is_finished

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def wait_until(condition, seconds=150.0):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.05)


def command(study, out, *more):
    words = [sys.executable, "-m", "walkhome.robot.cli", "ablate", study, "--out", out, *more]
    return [str(word) for word in (*words, "--seeds", 1, "--no-claims", "--jobs", 2)]


def start(*arguments):
    return subprocess.Popen(
        command(*arguments),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def writer_of(run):
    """Return the id of the process that writes to a run."""
    return int(re.search(r"\d+", (run / "lock.holder").read_text())[0])


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.timeout(500)
def test_a_stopped_and_killed_study_gives_the_same_results(undisturbed, tmp_path):
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    run, other = out / "runs" / "one" / "s0", out / "runs" / "two" / "s0"
    other.parent.mkdir(parents=True)
    (out / "study.yaml").write_text("study: mine\n")
    other.write_text("in the way of the second run")

    first = start(study, out)  # one run fails at once; the other goes on until Ctrl-C
    wait_until(lambda: len(list((run / "checkpoints").glob("0*"))) >= 2)
    pid = writer_of(run)
    first.send_signal(signal.SIGINT)
    output, errors = first.communicate(timeout=240)
    assert first.returncode == 130, output + errors
    assert "go on with the same command" in errors
    assert "Traceback" not in errors
    assert not is_alive(pid)
    assert re.search(r"failed: two-s0: .*a file is there", errors)
    assert "two-s0" in json.loads((out / "failed.json").read_text())
    assert json.loads((run / "summary.json").read_text())["status"] == "cut"

    killed = start(study, out)  # a parent that dies leaves nobody behind
    wait_until(lambda: "resume" in (run / "events.jsonl").read_text())
    pid = writer_of(run)
    killed.kill()
    killed.communicate()
    wait_until(lambda: not is_alive(pid), 60.0)
    assert not is_finished(run)

    third = start(study, out)
    output, errors = third.communicate(timeout=240)
    assert third.returncode == 1, output + errors
    assert "1 of 2 runs have a result" in output
    assert "a file is there" in (out / "report" / "index.html").read_text()
    assert bytes_of(run) == bytes_of(undisturbed)


def test_a_child_without_an_order_exits(tmp_path):
    with run_process("", tmp_path / "log") as process:
        process.stdin.close()
        assert process.wait(60) == 130
    with run_process("nonsense\n", tmp_path / "log") as process:
        assert process.wait(60) == 1

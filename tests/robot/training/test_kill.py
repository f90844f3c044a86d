# SPDX-License-Identifier: MIT
"""Real processes, really killed: the short version of `make kill-test`; disks that are full."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from walkhome.robot.storage.journal import read_journal

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SMALL = (
    "--set=learning.batch_size=16",
    "--set=learning.hidden_sizes=[16, 16]",
    "--set=learning.updates_per_step=1",
    "--set=episode.length_s=0.6",
)


@pytest.mark.timeout(300)
def test_killed_runs_resume_and_come_out_the_same():
    command = [sys.executable, ROOT / "benchmarks" / "durability.py", "--quick", "--json"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == 8
    assert result["finished_runs"] >= 1
    assert result["unloadable"] == result["unequal_runs"] == 0
    assert result["lost_s_max"] <= 1.0


def in_tmpfs(script, folder, size="3m"):
    """Runs shell lines with a tiny file system of its own at `folder`.

    In a namespace, so that nothing is left mounted; as root directly, else as a mapped root.
    """
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={size} tiny {folder} && {script}"
    for options in ("-m", "-Urm"):
        probe = ["unshare", options, "true"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return subprocess.Popen(
                ["unshare", options, "sh", "-c", mount],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
    raise AssertionError("no mount namespaces here: run the tests as a user that may make them")


def learn_on_full_disk(tmp_path, after_alarm):
    """A run on a disk that a filler occupies but for a little; returns exit code and output."""
    disk, run = tmp_path / "disk", tmp_path / "disk" / "run"
    sets = " ".join(f"'{item}'" for item in (*SMALL, "--set=run.checkpoint_every_s=3.0"))
    script = (
        f"{sys.executable} -m walkhome.robot.cli learn --run-dir {run} --minutes 0.4 {sets} & "
        "P=$!; "
        f"while ! ls {run}/journal/*.bin >/dev/null 2>&1; do sleep 0.02; done; "
        f"dd if=/dev/zero of={disk}/filler bs=1k 2>/dev/null; "
        f"{after_alarm}; wait $P; code=$?; "
        f"rm -f {disk}/filler; cp -r {run} {tmp_path}/out; exit $code"
    )
    process = in_tmpfs(script, disk)
    try:
        output, _ = process.communicate(timeout=150)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


@pytest.mark.timeout(200)
def test_a_full_disk_is_an_alarm_and_costs_nothing_once_there_is_room(tmp_path):
    code, output = learn_on_full_disk(tmp_path, f"sleep 4; rm {tmp_path}/disk/filler")
    assert code == 0, output
    assert "ALARM" in output
    records = read_journal(tmp_path / "out" / "journal").records
    assert (records["index"] == range(len(records))).all()
    assert records["robot_s"][-1] == pytest.approx(0.4 * 60.0, abs=1.5)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["status"] == "done"


@pytest.mark.timeout(200)
def test_a_disk_that_stays_full_pauses_the_run_and_a_stop_says_what_is_lost(tmp_path):
    code, output = learn_on_full_disk(tmp_path, "sleep 12; kill -INT $P")
    assert code == 1, output
    assert "ALARM" in output
    assert "PAUSED" in output
    assert "Traceback" not in output
    assert "records can't be written: no space left on device" in output.strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after_s", [0.6, 4.0])
def test_a_stop_at_any_moment_saves_and_says_how_to_resume(tmp_path, number, after_s):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "walkhome.robot.cli", "learn", "--run-dir", run, *SMALL]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(after_s)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    if not run.exists():  # so early that there was nothing to save
        assert process.returncode in (130, -number)
        return
    assert process.returncode == 130, output + errors
    assert f"resume with: robot learn --resume {run}" in output
    more = [
        sys.executable,
        "-m",
        "walkhome.robot.cli",
        "learn",
        "--resume",
        run,
        "--minutes",
        "0.05",
    ]
    again = subprocess.run(more, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_second_process_is_refused_at_once(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "walkhome.robot.cli", "learn", "--run-dir", run, *SMALL]
    first = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        while not (run / "checkpoints").exists():
            time.sleep(0.05)
            assert first.poll() is None
        before = (run / "config.yaml").read_bytes()
        more = [
            sys.executable,
            "-m",
            "walkhome.robot.cli",
            "learn",
            "--resume",
            run,
            "--minutes",
            "9",
        ]
        second = subprocess.run(more, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert f"process {first.pid}" in second.stderr
        assert second.stderr.startswith("error: ")
        assert second.stderr.count("\n") == 1
        assert (run / "config.yaml").read_bytes() == before
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()

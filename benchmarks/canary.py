# SPDX-License-Identifier: MIT
"""Thirty robot seconds of `robot learn`, as a user starts it, and a look at what it left behind.

Takes about 20 s. Exits with 1 and says why if the run folder is not what it should be.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 30.0


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with the canary's run folder."""
    names = ("config.yaml", "provenance.json", "events.jsonl", "policy.safetensors")
    found = [f"{name} is missing" for name in names if not (folder / name).is_file()]
    summary = json.loads((folder / "summary.json").read_text())
    minutes = summary["robot_minutes"]
    if summary["status"] != "done":
        found.append(f"status is {summary['status']!r}")
    if not SECONDS <= 60.0 * minutes["total"] <= SECONDS + 30.0:
        found.append(f"{minutes['total']:.2f} robot minutes instead of {SECONDS / 60:.2f}")
    parts = minutes["moving"] + minutes["standing_up"] + minutes["waiting"]
    if not math.isclose(parts, minutes["total"], rel_tol=1e-6):
        found.append(f"the parts of robot_minutes give {parts}, not {minutes['total']}")
    if summary["gradient_steps"] < 100:
        found.append(f"only {summary['gradient_steps']} gradient steps")
    if summary["human_resets"] or not summary["steps"]:
        found.append(f"{summary['human_resets']} human resets, {summary['steps']} steps")
    return found


def main() -> int:
    """Run, look, tell."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "canary"
        command = [
            sys.executable,
            "-m",
            "walkhome.robot.cli",
            "learn",
            "--terrain",
            "flat",
            "--json",
        ]
        command += ["--minutes", str(SECONDS / 60.0), "--run-dir", str(folder)]
        command += ["--set", "learning.random_steps=300"]
        done = subprocess.run(command, check=False, timeout=600)
        if done.returncode:
            print(f"canary: robot learn left with {done.returncode}", file=sys.stderr)
            return 1
        found = problems(folder)
        for problem in found:
            print(f"canary: {problem}", file=sys.stderr)
        print("canary: " + ("failed" if found else "passed"))
        return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""One run of a study, like `robot.ablation.job`, with CrossQ's critics (`crossq.CrossSac`).

Everything else is as in a run of ours by autograd. The run's configuration does not name the
critics, so only this program can resume it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crossq import CrossSac

from walkhome.learning.learner import Learner
from walkhome.robot.ablation import job
from walkhome.robot.config.resolve import Config
from walkhome.robot.training.learner_factory import make_learner


def start(config: Config, run: Path) -> Learner:
    """Create the learner of a run, as `robot.ablation.job` asks for it."""
    return make_learner(config, CrossSac)


def main() -> int:
    """Run `robot.ablation.job` with this learner; returns the exit code."""
    return job.main(start)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Where the helpers of the tests of runs are, and one run that nobody disturbed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_study import SMALL, write_study

from robot.ablation.engine import child
from robot.ablation.folder import StudyFolder
from robot.ablation.job import is_finished, order_of
from robot.ablation.study import load_study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Run one-s0 of `SMALL`, made in one go by its process alone."""
    place = tmp_path_factory.mktemp("undisturbed")
    job = StudyFolder(place, load_study(write_study(place, SMALL), 1, claims=False)).jobs[0]
    with child(order_of(job, place), place / "log") as process:
        assert process.wait(300) == 0, (place / "log").read_text()
    assert is_finished(place / job.folder)
    return place / job.folder

# SPDX-License-Identifier: MIT
"""One finished run of a small study."""

import pytest
from small_study import SMALL, write_study

from walkhome.robot.ablation.engine import run_process
from walkhome.robot.ablation.folder import StudyFolder
from walkhome.robot.ablation.job import encode_order, is_finished
from walkhome.robot.ablation.study import load_study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Run one-s0 of `SMALL`, made by its process without interruption."""
    place = tmp_path_factory.mktemp("undisturbed")
    job = StudyFolder(place, load_study(write_study(place, SMALL), 1, claims=False)).jobs[0]
    with run_process(encode_order(job, place), place / "log") as process:
        assert process.wait(300) == 0, (place / "log").read_text()
    assert is_finished(place / job.folder)
    return place / job.folder

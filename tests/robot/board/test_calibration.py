# SPDX-License-Identifier: MIT
"""Calibration files: one per robot, dated, strictly checked."""

import re

import pytest

from walkhome.hardware.serial.wiring import Wiring
from walkhome.robot.board.calibration import (
    CalibrationInvalid,
    calibration_path,
    load_calibration,
    save_calibration,
)

WIRING = Wiring((1, 0, 2, 3, 4, 5, 6, 7), (-1.0,) + (1.0,) * 7, (0.25,) * 8)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_a_saved_calibration_is_loaded():
    assert load_calibration("ours") is None
    path = save_calibration("ours", 12, WIRING)
    found = load_calibration("ours")
    assert found.wiring() == WIRING
    assert found.zero_table == 12
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.date)
    save_calibration("ours", 13, Wiring())
    assert load_calibration("ours").zero_table == 13
    assert "zero_table: 12" in path.with_suffix(".yaml.bak").read_text()


def test_the_shipped_calibration_can_be_overridden():
    assert load_calibration("emulated").wiring() == Wiring()
    save_calibration("emulated", 5, WIRING)
    assert load_calibration("emulated").wiring() == WIRING


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("robot_id: ours", "robot_id: theirs"), "robot 'theirs''s"),
        (lambda text: text.replace("0.25", "nothing", 1), "zero_rad"),
        (lambda text: text.replace("0.25", ".nan", 1), "not a finite number"),
        (lambda text: text.replace("[1, 0,", "[0, 0,"), "order"),
        (lambda text: text + "more: 1\n", "more"),
        (lambda text: "- 1\n", "the file"),
        (lambda text: "{", "ours.yaml"),
        (lambda text: text.replace("zero_table: 12", "zero_table: -1"), "zero_table"),
    ],
)
def test_an_invalid_file_is_refused(change, why):
    path = save_calibration("ours", 12, WIRING)
    path.write_text(change(path.read_text()))
    with pytest.raises(CalibrationInvalid, match=re.escape(why)) as refusal:
        load_calibration("ours")
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_robot_id_leaves_the_folder(tmp_path):
    for name in ("../../x", ".hidden", "a/b", ""):
        assert calibration_path(name).parent == tmp_path / "walkhome" / "robots"

# SPDX-License-Identifier: MIT
"""Calibration files: one per robot, written by `robot calibrate`, checked at every start.

    $XDG_CONFIG_HOME/walkhome/robots/<robot id>.yaml      (default ~/.config/walkhome/...)

The board stores encoder zeros of its own, the zero table. A file names the zero table that it was
measured on; a robot whose board uses another one is not armed (`safety.arming`). The calibration of
the emulated robot is shipped with walkhome.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import RobotError
from walkhome.hardware.serial.wiring import Wiring
from walkhome.robot.config.messages import explain
from walkhome.robot.config.sections import Section
from walkhome.robot.config.strict_yaml import YamlError, load_yaml
from walkhome.robot.storage.atomic_files import why, write_text
from walkhome.user_folders import config_folder


class CalibrationInvalid(RobotError):  # noqa: N818 - says what is wrong
    """A calibration file can't be used; the message names the file and the reason."""


_Eight = Field(min_length=N_MOTORS, max_length=N_MOTORS, strict=False)


class Calibration(Section):
    """How one robot's motors are wired, and for which zero table of its board.

    Attributes:
        robot_id: id of the robot.
        zero_table: id of the board's zero table at the measurement.
        date: time of the measurement, UTC, ISO 8601.
        order: (8,) as in `hardware.serial.wiring.Wiring`.
        sign: (8,) as in `Wiring`.
        zero_rad: (8,) as in `Wiring`.
    """

    robot_id: Annotated[str, Field(min_length=1, max_length=16)]
    zero_table: Annotated[int, Field(ge=0, lt=2**32)]
    date: str
    order: Annotated[tuple[Annotated[int, Field(ge=0, lt=N_MOTORS)], ...], _Eight] = Field(
        default=tuple(range(N_MOTORS))
    )
    sign: Annotated[tuple[Literal[1, -1], ...], _Eight] = (1, 1, 1, 1, 1, 1, 1, 1)
    zero_rad: Annotated[tuple[float, ...], _Eight] = (0.0,) * N_MOTORS

    @model_validator(mode="after")
    def _check_wiring(self) -> Calibration:
        self.wiring()
        return self

    def wiring(self) -> Wiring:
        """Return the wiring, for `hardware.serial.board.SerialRobot`."""
        return Wiring(self.order, tuple(float(s) for s in self.sign), self.zero_rad)


def calibration_path(robot_id: str) -> Path:
    """Return the path of a robot's calibration file, which need not exist."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", robot_id).lstrip(".") or "unnamed"
    return config_folder() / "robots" / f"{name}.yaml"


def load_calibration(robot_id: str) -> Calibration | None:
    """Load a robot's calibration: the user's file, or a shipped one; None if there is neither.

    Raises:
        CalibrationInvalid: the file can't be read, is invalid, or is another robot's.
    """
    path = calibration_path(robot_id)
    if path.is_file():
        try:
            text, name = path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            cause = why(error) if isinstance(error, OSError) else "not UTF-8"
            raise CalibrationInvalid(f"{path}: {cause}") from None
    else:
        shipped = files("walkhome.configs") / "calibrations" / f"{path.stem}.yaml"
        if not shipped.is_file():
            return None
        text, name = shipped.read_text(encoding="utf-8"), f"configs/calibrations/{path.stem}.yaml"
    return _parse(text, name, robot_id)


def save_calibration(robot_id: str, zero_table: int, wiring: Wiring) -> Path:
    """Write a robot's calibration with the present date; keep the previous file as `.yaml.bak`.

    Args:
        robot_id: id of the robot.
        zero_table: id of the board's zero table at the measurement.
        wiring: the calibration.

    Returns:
        The path of the file.

    Raises:
        OSError: the file can't be written.
    """
    path = calibration_path(robot_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    calibration = Calibration(
        robot_id=robot_id,
        zero_table=zero_table,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        order=wiring.order,
        sign=tuple(1 if s > 0 else -1 for s in wiring.sign),
        zero_rad=tuple(round(z, 6) for z in wiring.zero_rad),
    )
    values = {key: _plain(value) for key, value in calibration.model_dump().items()}
    if path.is_file():
        path.replace(path.with_suffix(".yaml.bak"))
    write_text(path, yaml.safe_dump(values, sort_keys=False, default_flow_style=None))
    return path


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _parse(text: str, name: str, robot_id: str) -> Calibration:
    try:
        calibration = Calibration.model_validate(load_yaml(text, name))
    except YamlError as error:
        raise CalibrationInvalid(str(error)) from None
    except ValidationError as error:
        problem = explain(error, Calibration)
        raise CalibrationInvalid(f"{name}: {problem}; repeat: robot calibrate") from None
    if calibration.robot_id != robot_id:
        raise CalibrationInvalid(
            f"{name}: it is robot {calibration.robot_id!r}'s, not {robot_id!r}'s: robot calibrate"
        )
    return calibration

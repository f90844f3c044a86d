# SPDX-License-Identifier: MIT
"""Record of leg and motor signals of a roll-out in the twin or on a board, and its file format.

`robot eval` writes one file per task into RUN/report/gait, which `robot report` reads, so that the
report needs no PyBullet. Records of a board are computed from its journal
(`robot.evaluation.gait_from_torque`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from walkhome.durable_files import write_atomically
from walkhome.robot.evaluation.gait import on_ground, on_ground_by_torque

FloatArray = npt.NDArray[np.float64]


class GaitRecordInvalid(ValueError):  # noqa: N818 - what it is
    """The file is not a gait record, or it is damaged."""


@dataclass(frozen=True)
class GaitRecord:
    """Signals of one roll-out; a row per physics step of the twin or control period of a board.

    Attributes:
        time_s: (n,) time since the start of the roll-out.
        foot_force_n: (n, 4) force of the ground on each foot; normal force in the twin, vertical
            estimate on a board.
        motor_angle_rad: (n, 8) motor angles.
        motor_velocity_rad_s: (n, 8) motor velocities.
        torque_nm: (n, 8) torques at the motors' shafts.
        power_w: (n, 8) electrical power that each motor draws; negative while it regenerates.
        estimated: True if the forces are estimated from torques (on a board), not measured.
    """

    time_s: FloatArray
    foot_force_n: FloatArray
    motor_angle_rad: FloatArray
    motor_velocity_rad_s: FloatArray
    torque_nm: FloatArray
    power_w: FloatArray
    estimated: bool = field(default=False, kw_only=True)

    def contact(self) -> npt.NDArray[np.bool_]:
        """Return which feet are on the ground, (n, 4)."""
        find = on_ground_by_torque if self.estimated else on_ground
        return find(self.foot_force_n)

    def since(self, row: int) -> GaitRecord:
        """Return the record without the rows before `row`; arrays are views."""
        arrays = (getattr(self, name)[row:] for name in _ARRAYS)
        return GaitRecord(*arrays, estimated=self.estimated)

    @property
    def torque_rms_nm(self) -> float:
        """Root mean square of the torque over time and motors; it determines their heating."""
        return float(np.sqrt(np.mean(np.square(self.torque_nm))))

    @property
    def torque_peak_nm(self) -> float:
        """Largest magnitude of any motor's torque."""
        return float(np.abs(self.torque_nm).max())

    @property
    def mean_power_w(self) -> float:
        """Mean electrical power of all motors together; regenerated power is not counted."""
        return float(np.maximum(self.power_w, 0.0).sum(axis=1).mean())

    @property
    def mean_mechanical_power_w(self) -> float:
        """Mean mechanical power of all motors together; negative (braking) power is not counted."""
        work_w = self.torque_nm * self.motor_velocity_rad_s
        return float(np.maximum(work_w, 0.0).sum(axis=1).mean())


_ARRAYS = tuple(known.name for known in fields(GaitRecord) if known.name != "estimated")


def save_gait(path: Path, record: GaitRecord, facts: dict[str, str]) -> None:
    """Write a record of the twin as safetensors, float32.

    Args:
        path: path of the file; replaced if it exists.
        record: the record; its forces are measured.
        facts: metadata to store with the record.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.numpy import save

    tensors = {
        name: np.ascontiguousarray(getattr(record, name), dtype=np.float32) for name in _ARRAYS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors, metadata=facts))


def load_gait(path: Path) -> tuple[GaitRecord, dict[str, str]]:
    """Read a file that `save_gait` wrote.

    Returns:
        The record, and its metadata.

    Raises:
        GaitRecordInvalid: the file is not a gait record, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            arrays = {key: file.get_tensor(key).astype(np.float64) for key in file.keys()}  # noqa: SIM118
            facts = dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError) as error:
        raise GaitRecordInvalid(f"{path}: not a gait record: {error}") from None
    rows = {len(array) for array in arrays.values()}
    finite = all(np.isfinite(array).all() for array in arrays.values())
    if sorted(arrays) != sorted(_ARRAYS) or len(rows) != 1 or not finite:
        raise GaitRecordInvalid(f"{path}: not a whole gait record; run `robot eval` again")
    return GaitRecord(**arrays), facts

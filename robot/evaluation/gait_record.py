# SPDX-License-Identifier: MIT
"""Record of leg and motor signals of a roll-out in the twin or on a board, and its file format.

`robot eval` leaves one file per task in RUN/report/gait; `robot report` needs no PyBullet then. A
board's are made of the journal (`robot.evaluation.gait_from_torque`).
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
    """A file that is no gait record, or a damaged one."""


@dataclass(frozen=True)
class GaitRecord:
    """One roll-out, one row per physics step of the twin, or per control period of a board.

    Attributes:
        time_s: (n,) since the start of the roll-out.
        foot_force_n: (n, 4) normal force of the ground on each leg.
        motor_angle_rad: (n, 8).
        motor_velocity_rad_s: (n, 8).
        torque_nm: (n, 8) of the shafts.
        power_w: (n, 8) what each motor takes from the battery; negative while it feeds back.
        estimated: the forces are not measured, but estimated from torques, on a board.
    """

    time_s: FloatArray
    foot_force_n: FloatArray
    motor_angle_rad: FloatArray
    motor_velocity_rad_s: FloatArray
    torque_nm: FloatArray
    power_w: FloatArray
    estimated: bool = field(default=False, kw_only=True)

    def contact(self) -> npt.NDArray[np.bool_]:
        """(n, 4) whether each foot is on the ground."""
        find = on_ground_by_torque if self.estimated else on_ground
        return find(self.foot_force_n)

    def since(self, row: int) -> GaitRecord:
        """A copy of the record without the rows before `row`."""
        arrays = (getattr(self, name)[row:] for name in _ARRAYS)
        return GaitRecord(*arrays, estimated=self.estimated)

    @property
    def torque_rms_nm(self) -> float:
        """Root mean square over time and motors: what heats them."""
        return float(np.sqrt(np.mean(np.square(self.torque_nm))))

    @property
    def torque_peak_nm(self) -> float:
        """Largest magnitude of any motor."""
        return float(np.abs(self.torque_nm).max())

    @property
    def mean_power_w(self) -> float:
        """Of all motors together; what a braking motor feeds back is not counted."""
        return float(np.maximum(self.power_w, 0.0).sum(axis=1).mean())

    @property
    def mean_mechanical_power_w(self) -> float:
        """Work of all shafts per second, without what braking takes out."""
        work_w = self.torque_nm * self.motor_velocity_rad_s
        return float(np.maximum(work_w, 0.0).sum(axis=1).mean())


_ARRAYS = tuple(known.name for known in fields(GaitRecord) if known.name != "estimated")


def save_gait(path: Path, record: GaitRecord, facts: dict[str, str]) -> None:
    """Write a record of the twin as safetensors, float32.

    Args:
        path: where; replaced if it exists.
        record: what was seen.
        facts: names and values to keep with it.
    """
    from safetensors.numpy import save

    tensors = {
        name: np.ascontiguousarray(getattr(record, name), dtype=np.float32) for name in _ARRAYS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors, metadata=facts))


def load_gait(path: Path) -> tuple[GaitRecord, dict[str, str]]:
    """Read what `save_gait` wrote.

    Raises:
        GaitRecordInvalid: it is another file, or damaged.
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

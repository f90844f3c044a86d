# SPDX-License-Identifier: MIT
"""Constants of the Minitaur and of physics, each defined once for all packages.

Plain numbers and tuples: this module imports nothing, so that programs which only need a count do
not load NumPy. Motor constants are those of bullet3 (`pybullet_envs/minitaur/envs/motor.py` and
`minitaur.py`, commit 6c888f4).
"""

from __future__ import annotations

N_LEGS = 4
N_MOTORS = 8

GRAVITY_M_S2 = 9.81

# DC motor. In SI units the torque constant (N m/A) is also the back-EMF constant (V s/rad).
TORQUE_CONSTANT_NM_A = 0.0954
RESISTANCE_OHM = 0.186

# Measured torque at each current magnitude: it saturates. Linear in between, constant above 60 A.
CURRENT_TABLE_A = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
TORQUE_TABLE_NM = (0.0, 1.0, 1.9, 2.45, 3.0, 3.25, 3.5)
MAX_TORQUE_NM = TORQUE_TABLE_NM[-1]

# A motor overheats when it holds more than this torque for longer than this time.
OVERHEAT_TORQUE_NM = 2.45
OVERHEAT_S = 1.0

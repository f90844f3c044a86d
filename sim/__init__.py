# SPDX-License-Identifier: MIT
"""The PyBullet twin of the body, its motors and the terrains. Knows no task and never learns."""

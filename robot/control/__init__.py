# SPDX-License-Identifier: MIT
"""The control cycle: clocks, the plant, the path to the motors, episodes and resets."""

# SPDX-License-Identifier: MIT
"""May this command go out, is the robot down, how does it get up. No torch, no simulator."""

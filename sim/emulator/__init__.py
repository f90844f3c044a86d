# SPDX-License-Identifier: MIT
"""An emulated board: the firmware on a pseudo-terminal, with the twin as its physics."""

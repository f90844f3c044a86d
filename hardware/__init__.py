# SPDX-License-Identifier: MIT
"""What a robot is: its body, its state and commands, and the wire to one. Imports nothing of ours."""

# SPDX-License-Identifier: MIT
"""What a robot is: body, state, commands and the wire to one. Imports nothing of ours."""

# SPDX-License-Identifier: MIT
"""The robot: body, state, commands, serial link, pose sources. Imports no other package of ours."""

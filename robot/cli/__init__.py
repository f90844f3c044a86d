# SPDX-License-Identifier: MIT
"""The command `walkhome` (also `robot`): options, errors, one module per verb."""

# SPDX-License-Identifier: MIT
"""SAC with constraints, replay and policies. Sees arrays and plain numbers; knows no legs."""

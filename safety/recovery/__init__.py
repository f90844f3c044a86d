# SPDX-License-Identifier: MIT
"""Getting up: posture recognition and the scripted stand-up."""

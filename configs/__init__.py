# SPDX-License-Identifier: MIT
"""The shipped YAML files (learn.yaml, robots/, terrains/); no code."""

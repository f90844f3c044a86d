# SPDX-License-Identifier: MIT
"""The shipped YAML files; no code."""

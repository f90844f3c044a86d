# SPDX-License-Identifier: MIT
"""The configuration: one schema with every default, strict YAML, and the origin of each value."""

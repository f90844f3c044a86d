# SPDX-License-Identifier: MIT
"""The configuration: the schema with all defaults, strict YAML, and the origin of each value."""

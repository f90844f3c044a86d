# SPDX-License-Identifier: MIT
"""The HTML report of a run and its figures."""

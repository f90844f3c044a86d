# SPDX-License-Identifier: MIT
"""Monitoring of a run in progress: status, views, live screen."""

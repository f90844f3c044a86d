# SPDX-License-Identifier: MIT
"""The decision process: observations, rewards, costs, tasks, the workspace and the scheduler."""

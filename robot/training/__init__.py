# SPDX-License-Identifier: MIT
"""The learning loop, its statistics, its checkpoints and its learner process."""

# SPDX-License-Identifier: MIT
"""What is on disk: run folders, the journal, checkpoints, policies, exports."""

# SPDX-License-Identifier: MIT
"""Files of a run: run folders, the journal, checkpoints, policies, exports."""

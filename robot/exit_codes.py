# SPDX-License-Identifier: MIT
"""Exit codes of all commands. 0 means done."""

from __future__ import annotations

EXIT_FAILED = 1
"""The command failed while it was running."""

EXIT_USAGE = 2
"""The command line or an input file is invalid; nothing was written."""

EXIT_SAFETY = 3
"""The command stopped for safety, or the robot needs a person."""

EXIT_INTERRUPTED = 130
"""A signal (Ctrl-C) ended the command; 128 + SIGINT, as shells report it."""

# SPDX-License-Identifier: MIT
"""One module per group of verbs; what is heavy is imported when its verb runs."""

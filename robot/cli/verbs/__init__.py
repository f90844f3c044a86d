# SPDX-License-Identifier: MIT
"""One module per group of verbs. Each verb imports heavy modules only when it runs."""

# SPDX-License-Identifier: MIT
"""A learner in another process: transitions out, weights back."""

# SPDX-License-Identifier: MIT
"""A learner in another process: transitions go out, policy weights come back."""

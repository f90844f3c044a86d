# SPDX-License-Identifier: MIT
"""For all tests: properties have no time limit, because a busy machine is no counterexample."""

from hypothesis import settings

settings.register_profile("walkhome", deadline=None)
settings.load_profile("walkhome")

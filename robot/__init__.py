# SPDX-License-Identifier: MIT
"""The host application: what a person starts."""

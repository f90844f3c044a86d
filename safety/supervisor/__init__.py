# SPDX-License-Identifier: MIT
"""The supervisor process, its client, the heartbeat and the emergency stop."""

# SPDX-License-Identifier: MIT
"""What may go out: the action filter, command limits, torque derating and tracking."""

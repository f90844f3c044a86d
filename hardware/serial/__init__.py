# SPDX-License-Identifier: MIT
"""A board behind a serial port: the wire protocol, the link, the session."""

# SPDX-License-Identifier: MIT
"""The board's side of the wire protocol, in C99; a package only so that wheels carry its source."""

# SPDX-License-Identifier: MIT
"""The board's side of the wire protocol in C99; a package so that wheels contain the source."""

# SPDX-License-Identifier: MIT
"""Films: rendering, captions, MP4 files, replays of recorded episodes."""

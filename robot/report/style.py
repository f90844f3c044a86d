# SPDX-License-Identifier: MIT
"""Colours, marks and lines of a report's figures.

Colours are Okabe and Ito's, which people with any common colour blindness can tell apart (Okabe and
Ito 2008, jfly.uni-koeln.de/color); tasks also differ by marker and constraints by line, for print
in grey. Every axis says its quantity and unit.
"""

from __future__ import annotations

from typing import Any

TASK_COLOUR = {
    "forward": "#0072B2",
    "backward": "#D55E00",
    "left": "#009E73",
    "right": "#CC79A7",
}
TASK_MARKER = {"forward": "o", "backward": "s", "left": "^", "right": "v"}
PHASE_COLOUR = {"moving": "#0072B2", "standing_up": "#E69F00", "waiting": "#999999"}
CONSTRAINT_LINE = {"pitch": "-", "roll": "--"}
LIMIT_COLOUR = "#444444"
STYLE: Any = {  # of matplotlib's own type for it, which is not public
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    # The same run gives the same file.
    "svg.hashsalt": "walkhome",
}
TURNS = ("left", "right")
MINUTES = "robot time (min)"

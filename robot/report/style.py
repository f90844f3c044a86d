# SPDX-License-Identifier: MIT
"""Colours, marks and lines of a report's figures.

Colours are the palette of Okabe and Ito (2008, jfly.uni-koeln.de/color), which readers with any
common form of colour blindness can tell apart. Tasks also differ by marker and constraints by line
style, so that figures stay readable in greyscale print. Every axis is labelled with quantity and
unit.
"""

from __future__ import annotations

from typing import Any

BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
BLACK = "#000000"
GREY = "#999999"  # not of the palette: neutral

TASK_COLOUR = {"forward": BLUE, "backward": VERMILLION, "left": GREEN, "right": PURPLE}
TASK_MARKER = {"forward": "o", "backward": "s", "left": "^", "right": "v"}
PHASE_COLOUR = {"moving": BLUE, "standing_up": ORANGE, "waiting": GREY}
LEG_COLOUR = (BLUE, SKY_BLUE, VERMILLION, ORANGE)  # left legs blue, right red; front legs darker
# More variants than the palette has colours: two of Tol's (2021, personal.sron.nl/~pault) follow.
VARIANT_COLOURS = (
    BLUE,
    VERMILLION,
    GREEN,
    PURPLE,
    ORANGE,
    SKY_BLUE,
    BLACK,
    GREY,
    "#882255",
    "#44AA99",
)
CONSTRAINT_LINE = {"pitch": "-", "roll": "--"}
LIMIT_COLOUR = "#444444"
STYLE: Any = {  # rcParams; matplotlib's type for them is not public
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
    # A fixed salt makes the ids in SVG files reproducible.
    "svg.hashsalt": "walkhome",
}
TURNS = ("left", "right")
MINUTES = "robot time (min)"

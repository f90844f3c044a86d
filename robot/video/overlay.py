# SPDX-License-Identifier: MIT
"""Draws a caption over a picture of the robot: task, time, attitude, actions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_INK = (20, 24, 30)
_PALE = (110, 118, 130)
_PAPER = (255, 255, 255, 205)
_ASKED = (213, 94, 0)  # vermillion and blue of Okabe and Ito, as in the report
_FILTERED = (0, 114, 178)
_SKY, _EARTH = (156, 205, 240), (205, 170, 125)
_LEGS = ("FL", "BL", "FR", "BR")


@dataclass(frozen=True)
class Caption:
    """Texts, attitude and actions of a caption.

    Attributes:
        title: name of the task or behaviour.
        lines: small text below the title.
        roll_rad: roll, positive with the right side down.
        pitch_rad: pitch, positive with the nose down.
        action: (8,) actions of the policy in [-1, 1], four swings, then four extensions; None
            draws no bars.
        filtered: (8,) actions after the filter; None draws no bars.
    """

    title: str
    lines: tuple[str, ...] = ()
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    action: FloatArray | None = None
    filtered: FloatArray | None = field(default=None)


def draw_caption(picture: Picture, caption: Caption) -> Picture:
    """Draw a caption over a picture.

    Args:
        picture: (height, width, 3) uint8 RGB; not modified.
        caption: texts and values; their size is proportional to the picture's height.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    unit = picture.shape[0] / 480.0
    _text(draw, caption, unit)
    width, height = image.size
    _horizon(draw, caption, width - 62 * unit, 62 * unit, 46 * unit)
    if caption.action is not None and caption.filtered is not None:
        _bars(draw, caption.action, caption.filtered, (width, height), unit)
    return np.asarray(image, dtype=np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(draw: ImageDraw.ImageDraw, caption: Caption, unit: float) -> None:
    rows = [(caption.title, 24), *((line, 14) for line in caption.lines)]
    widths = [draw.textlength(text, _font(round(size * unit))) for text, size in rows]
    height = sum(size + 6 for _, size in rows) * unit
    box = (8 * unit, 8 * unit, max(widths) + 24 * unit, height + 18 * unit)
    draw.rounded_rectangle(box, 6 * unit, fill=_PAPER)
    y = 12 * unit
    for text, size in rows:
        draw.text((16 * unit, y), text, fill=_INK, font=_font(round(size * unit)))
        y += (size + 6) * unit


def _horizon(
    draw: ImageDraw.ImageDraw, caption: Caption, x: float, y: float, radius: float
) -> None:
    """Draw an artificial horizon, as in an aircraft, with centre (x, y) and radius in pixels."""
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(box, fill=(*_SKY, 230))
    # Nose down moves the horizon up; half the radius is 30 degrees.
    shift = max(-1.0, min(1.0, caption.pitch_rad / math.radians(60.0)))
    half_rad = math.acos(-shift)
    # Right side down raises the right of the horizon. Pillow's angles run clockwise from 3 o'clock.
    turn = -math.degrees(caption.roll_rad)
    low, high = 90.0 - math.degrees(half_rad), 90.0 + math.degrees(half_rad)
    if high - low > 0.5:
        draw.chord(box, low + turn, high + turn, fill=(*_EARTH, 235))
    draw.ellipse(box, outline=_INK, width=2)
    draw.line((x - 0.45 * radius, y, x + 0.45 * radius, y), fill=_INK, width=3)
    roll_deg, pitch_deg = math.degrees(caption.roll_rad), math.degrees(caption.pitch_rad)
    angles = f"roll {roll_deg:+.0f}°  pitch {pitch_deg:+.0f}°"
    font = _font(round(radius * 0.28))
    width = draw.textlength(angles, font)
    left = x + radius - width
    draw.rectangle((left - 4, y + 1.1 * radius, left + width + 4, y + 1.5 * radius), fill=_PAPER)
    draw.text((left, y + 1.13 * radius), angles, fill=_INK, font=font)


def _bars(
    draw: ImageDraw.ImageDraw,
    action: FloatArray,
    filtered: FloatArray,
    size: tuple[int, int],
    unit: float,
) -> None:
    """Draw eight bars at the bottom: the filtered action as a bar, the policy's as a line."""
    font = _font(round(12 * unit))
    step, half, height = 30 * unit, 9 * unit, 28 * unit
    left, middle = 16 * unit, size[1] - 58 * unit
    box = (8 * unit, middle - height - 22 * unit, left + 8.6 * step, middle + height + 22 * unit)
    draw.rounded_rectangle(box, 6 * unit, fill=_PAPER)
    for i in range(8):
        x = left + (i + 0.5 + 0.4 * (i >= 4)) * step
        top, bottom = sorted((middle, middle - height * float(np.clip(filtered[i], -1, 1))))
        draw.rectangle((x - half, top, x + half, bottom), fill=_FILTERED)
        asked = middle - height * float(np.clip(action[i], -1, 1))
        draw.line((x - half - 2, asked, x + half + 2, asked), fill=_ASKED, width=2)
        draw.text((x - half, middle + height + 3 * unit), _LEGS[i % 4], fill=_PALE, font=font)
    draw.line((left, middle, left + 8.4 * step, middle), fill=_PALE, width=1)
    for name, start in (("swing", 0.0), ("extension", 4.4)):
        place = (left + start * step, middle - height - 20 * unit)
        draw.text(place, name, fill=_INK, font=font)

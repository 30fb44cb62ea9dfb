"""Draw what a detector found: boxes with names and scores on the picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from resnets.core import artifacts
from resnets.inference.found import FoundObject

# Distinct on photos and for the colour-blind.
# Source: Okabe, Ito 2008, https://jfly.uni-koeln.de/color/
_COLOURS: Final = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def boxes(image: Image.Image, found: Sequence[FoundObject]) -> Image.Image:
    """Return a copy of a picture with a box around each object, its name and its score.

    A class has one colour; lines and letters grow with the picture.
    """
    drawn = image.convert("RGB").copy()
    draw = ImageDraw.Draw(drawn)
    shorter = min(drawn.size)
    line = max(1, round(shorter / 200))
    font = ImageFont.load_default(max(10, round(shorter / 35)))
    for one in reversed(found):  # the likeliest on top
        colour = _COLOURS[one.class_index % len(_COLOURS)]
        left, top, right, bottom = one.box_px
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), None, colour, line)
        text = f"{one.class_name} {one.score:.2f}"
        _, _, width, height = draw.textbbox((0, 0), text, font)
        # Above the box where there is room, else inside it; never beside the picture.
        at_x = min(max(0.0, left), max(0.0, drawn.width - width - 2 * line))
        at_y = top - height - line if top >= height + line else top + line
        draw.rectangle((at_x, at_y, at_x + width + 2 * line, at_y + height + line), colour)
        draw.text((at_x + line, at_y), text, _letters(colour), font)
    return drawn


def save(image: Image.Image, to: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    made = io.BytesIO()
    image.save(made, format="png")
    artifacts.write_bytes(to, made.getvalue())


def _letters(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever is read better on a colour."""
    red, green, blue = colour
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    return (0, 0, 0) if light else (255, 255, 255)

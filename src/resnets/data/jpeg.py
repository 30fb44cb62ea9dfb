"""How to decode no more of a JPEG file than a box of it needs.

Two things are left out. Rows below the box: the decoder is told that the image ends there. And
detail that resizing would remove: a large box is decoded at 1/2, 1/4 or 1/8. What is above and
beside the box has to be decoded, because a JPEG file can only be read from its beginning.

Source: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B for markers and segments.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg

Box = tuple[int, int, int, int]  # left, top, right, bottom, in whole pixels; the last two beyond it

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames of 8 bits and Huffman codes
# Codes, quantization, restarts, what applications add, comments.
_PASSED_OVER: Final = (0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE)
_SCAN: Final = 0xDA
_SCALES: Final = (8, 4, 2, 1)
# Smooth upsampling of colours looks at the next row of them, two rows of pixels on.
_BEYOND_PX: Final = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """What the head of a JPEG file says.

    Args:
        width: In pixels.
        height: In pixels.
        height_at: Where the height stands: two bytes, the higher first.
        sequential: Whether there is one scan, which goes through the image once, row by row.
    """

    width: int
    height: int
    height_at: int
    sequential: bool


def layout(content: bytes) -> Layout | None:
    """Read the head of a JPEG file; None for anything but a whole one, grey or in three colours.

    A whole one ends with its end marker: what is cut off doesn't.
    """
    if not (content.startswith(_START) and content.endswith(_END)):
        return None
    frame_at = None
    at = len(_START)
    try:
        while True:
            mark, kind, size = content[at], content[at + 1], _number(content, at + 2)
            if mark != 0xFF or size < 2:
                return None
            if kind in _SEQUENTIAL or kind == _PROGRESSIVE:
                frame_at = at
            elif kind == _SCAN:
                break
            elif kind not in _PASSED_OVER:
                return None
            at += 2 + size
        return None if frame_at is None else _laid_out(content, frame_at, at)
    except IndexError:
        return None


def decode(content: bytes, laid: Layout, box: Box, least_px: int) -> tuple[np.ndarray, Box]:
    """Decode at least a box of an image, at a scale at which its sides have `least_px` or more.

    Damage below the box is not seen, and where the codes of the image are damaged the pixels are
    what libjpeg makes of them, as in Pillow.

    Args:
        content: A whole file.
        laid: Its layout.
        box: Inside the image and not empty.
        least_px: Sides shorter than this are not scaled at all.

    Returns:
        RGB, uint8, (height, width, 3), and where the box is in it; at 1/2, 1/4, 1/8 its edges are
        rounded to whole pixels there.

    Raises:
        ValueError: The decoder cannot make anything of it.
    """
    left, top, right, bottom = box
    shorter = min(right - left, bottom - top)
    scale = next((s for s in _SCALES if shorter // s >= least_px), 1)
    height, shortened = laid.height, bytearray(content)
    if laid.sequential:
        height = min(height, bottom + _BEYOND_PX * scale)
        shortened[laid.height_at : laid.height_at + 2] = height.to_bytes(2)
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        shortened,
        min_height=-(-height // scale),
        min_width=-(-laid.width // scale),
        min_factor=scale,
        strict=False,  # whatever follows the rows that are wanted is a warning
    )
    inside_y, inside_x, _ = pixels.shape
    x0, x1 = _rounded(left, right, scale, inside_x)
    y0, y1 = _rounded(top, bottom, scale, inside_y)
    return pixels, (x0, y0, x1, y1)


def _rounded(first: int, end: int, scale: int, inside: int) -> tuple[int, int]:
    low = min((first + scale // 2) // scale, inside - 1)
    return low, min(max((end + scale // 2) // scale, low + 1), inside)


def _laid_out(content: bytes, frame_at: int, scan_at: int) -> Layout | None:
    bits, components = content[frame_at + 4], content[frame_at + 9]
    height, width = _number(content, frame_at + 5), _number(content, frame_at + 7)
    if bits != 8 or not height or not width or components not in (1, 3):
        return None
    # Some files have a scan for each component, and progressive ones several for all of them.
    one_scan = content[frame_at + 1] in _SEQUENTIAL and content[scan_at + 4] == components
    return Layout(width, height, height_at=frame_at + 5, sequential=one_scan)


def _number(content: bytes, at: int) -> int:
    return content[at] << 8 | content[at + 1]

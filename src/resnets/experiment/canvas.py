"""Boxes, arrows and text as SVG. Everything is in pixels, x to the right and y down.

Attributes and not style sheets carry the looks, because a notebook shares its styles between cells.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape, quoteattr

INK = "#222222"
PALE = "#666666"
_FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_MARGIN = 24
_WIDEST = 0.62  # of a letter on average, by its size, in the widest of the fonts


def width_of(text: str, size: float) -> float:
    """Return how wide a text is at most."""
    return len(text) * size * _WIDEST


class Canvas:
    """A drawing that grows with what is put on it; `svg` gives it as a file's text."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.right = 0.0
        self.bottom = 0.0

    @contextmanager
    def group(self, kind: str) -> Iterator[None]:
        """Put what is drawn meanwhile into one group, so that programs find it."""
        self._parts.append(f'<g class="{kind}">')
        yield
        self._parts.append("</g>")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        anchor: str = "start",
        bold: bool = False,
        fill: str = INK,
    ) -> None:
        """Write a line; y is its base line, and `anchor` where x is: start, middle or end."""
        share = {"start": 1.0, "middle": 0.5, "end": 0.0}[anchor]
        self._reach(x + share * width_of(text, size), y + 0.3 * size)
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"{weight} '
            f'fill="{fill}">{escape(_printable(text))}</text>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        kind: str,
        fill: str,
        stroke: str = "none",
        radius: float = 4,
    ) -> None:
        """Draw a rectangle with round corners."""
        self._reach(x + width, y + height)
        self._parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'rx="{radius:g}" fill="{fill}" stroke="{stroke}"/>'
        )

    def circle(self, x: float, y: float, radius: float, *, kind: str, sign: str = "") -> None:
        """Draw a circle; `sign` is `+` or `x` for strokes across it, or letters to stand in it."""
        self._reach(x + radius, y + radius)
        self._parts.append(
            f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="#ffffff" '
            f'stroke="{INK}" stroke-width="1.2"/>'
        )
        far, near = radius - 2, (radius - 2) * 0.7
        if sign == "+":
            self.path(f"M{x - far:g},{y:g}H{x + far:g}M{x:g},{y - far:g}V{y + far:g}", kind="sign")
        elif sign == "x":
            self.path(
                f"M{x - near:g},{y - near:g}L{x + near:g},{y + near:g}"
                f"M{x - near:g},{y + near:g}L{x + near:g},{y - near:g}",
                kind="sign",
            )
        elif sign:
            self.text(x, y + 3.6, sign, size=10, anchor="middle", bold=True)

    def path(self, d: str, *, kind: str, dotted: bool = False, stroke: str = INK) -> None:
        """Draw a line along SVG path data."""
        dots = ' stroke-dasharray="1.5 4" stroke-linecap="round"' if dotted else ""
        width = 1.8 if dotted else 1.3
        self._parts.append(
            f'<path class="{kind}" d="{d}" fill="none" stroke="{stroke}" '
            f'stroke-width="{width}"{dots}/>'
        )

    def down(self, x: float, top: float, bottom: float, *, dotted: bool = False) -> None:
        """Draw an arrow downwards."""
        self.path(f"M{x:g},{top:g}V{bottom - 4:g}", kind="flow", dotted=dotted)
        self.head(x, bottom, "down")

    def head(self, x: float, y: float, direction: str) -> None:
        """Draw an arrow's head; its point is at (x, y)."""
        dx, dy = {"down": (0, 1), "left": (-1, 0), "right": (1, 0)}[direction]
        a = (x - 6 * dx - 3.2 * dy, y - 6 * dy - 3.2 * dx)
        b = (x - 6 * dx + 3.2 * dy, y - 6 * dy + 3.2 * dx)
        points = f"{x:g},{y:g} {a[0]:g},{a[1]:g} {b[0]:g},{b[1]:g}"
        self._parts.append(f'<polygon class="head" points="{points}" fill="{INK}"/>')

    def svg(self, title: str) -> str:
        """Return the drawing as a file's text, on white, with a title for those who cannot see."""
        width, height = round(self.right + _MARGIN), round(self.bottom + _MARGIN)
        name = _printable(title)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" font-family={quoteattr(_FONT)} '
                f'role="img" aria-label={quoteattr(name)}>',
                f"<title>{escape(name)}</title>",
                f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
                *self._parts,
                "</svg>\n",
            ]
        )

    def _reach(self, x: float, y: float) -> None:
        self.right, self.bottom = max(self.right, x), max(self.bottom, y)


def _printable(text: str) -> str:
    """Return a text without what XML cannot hold: a path may have anything in it."""
    return "".join(each if each.isprintable() else "?" for each in text)

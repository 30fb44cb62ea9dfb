"""A network drawn as in Fig. 3 of the paper, with its blocks beside it as in Figs. 2 and 5."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resnets.core import artifacts
from resnets.core.errors import StorageError
from resnets.experiment import closeup
from resnets.experiment.canvas import INK, PALE, Canvas
from resnets.models.cost import Block, Cost, Layer

SUFFIX: Final = ".svg"

_FULL_LAYERS: Final = 60  # a network of more is folded: equal blocks are drawn once
_LEFT: Final = 24
_BOX_X: Final = 220
_BOX_WIDTH: Final = 160
_BOX_HEIGHT: Final = 20
_INSIDE: Final = 10  # between two boxes of a block
_BETWEEN: Final = 18  # from a block to the next box
_CENTRE: Final = _BOX_X + _BOX_WIDTH / 2
_BULGE: Final = 64  # of a shortcut's control points; the curve itself goes three quarters as far
_BAND_RIGHT: Final = 560
_BLOCKS_X: Final = 600
_LONGEST_NAME: Final = 70

_GREYS: Final = ("#f7f7f7", "#e6e6e6", "#8a8a8a")  # band, box, outline
_COLOURS: Final = (
    ("#f6f2fb", "#e0d3f1", "#7a5aa6"),
    ("#f1f8ef", "#d2ebcb", "#4f8a45"),
    ("#fdf3ee", "#fad9ca", "#c0603a"),
    ("#eff5fb", "#cfe2f5", "#3c75ad"),
    ("#fdf8e7", "#f8e7ae", "#a9841a"),
)


@dataclass(frozen=True, slots=True)
class Diagram:
    """A drawing; it shows in a notebook."""

    svg: str

    def __repr__(self) -> str:
        return f"<diagram of {len(self.svg):,} letters of SVG; .save(path) writes it>"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write it as an SVG file, whole or not at all.

        Raises:
            StorageError: The name does not end in .svg, or the file cannot be written.
        """
        check(Path(path))
        artifacts.write_bytes(Path(path), self.svg.encode())


def check(path: Path) -> None:
    """Refuse a path that no diagram can have, before there is one.

    Raises:
        StorageError: The name does not end in .svg, or a folder has it.
    """
    if path.suffix.lower() != SUFFIX:
        raise StorageError(
            f"{path}: a diagram is an SVG file; give it a name that ends in {SUFFIX}"
        )
    if path.is_dir():
        raise StorageError(f"{path}: a folder has that name; choose another")


def draw(name: str, cost: Cost) -> Diagram:
    """Return the drawing of a network: every layer, or folded where it has more than 60.

    Source: He et al. 2015, Fig. 3; blocks: Fig. 2, Fig. 5.
    """
    canvas = Canvas()
    shown = name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"
    side = cost.image_px
    canvas.text(_LEFT, 40, shown, size=20, bold=True)
    about = (
        f"{cost.depth} layers, {cost.parameters:,} parameters, "
        f"{cost.multiply_adds / 1e9:.3g} \N{MULTIPLICATION SIGN} 10\N{SUPERSCRIPT NINE} "
        f"multiply-adds for an image of {side}\N{MULTIPLICATION SIGN}{side}"
    )
    canvas.text(_LEFT, 60, about, size=12, fill=PALE)
    with canvas.group("network"):
        _Column(canvas, top=84, folded=cost.depth > _FULL_LAYERS).draw(cost)
    with canvas.group("legend"):
        bottom = closeup.legend(canvas, _BLOCKS_X, 96, cost)
    for block_name, block in closeup.kinds(cost):
        with canvas.group("block"):
            bottom = closeup.draw(canvas, _BLOCKS_X, bottom + 30, block_name, block)
    return Diagram(canvas.svg(f"{name}: {about}"))


class _Column:
    """The boxes from the image down to the classes.

    `y` is where the next part begins; `tail` where the last thing ends, and so its arrow begins.
    """

    def __init__(self, canvas: Canvas, top: float, folded: bool) -> None:
        self.canvas = canvas
        self.y = self.tail = top
        self.folded = folded
        self.fill, self.stroke = "", ""

    def draw(self, cost: Cost) -> None:
        self.canvas.text(_CENTRE, self.y + 12, "image", size=12, anchor="middle")
        self.tail = self.y + 18
        self.y = self.tail + 8
        stem, head = _drawn(cost.stem.operations), _drawn(cost.head.operations)
        if stem:
            self._part("stem", _sizes(stem), _GREYS, [(cost.stem, 1)])
        for number, stage in enumerate(cost.stages):
            colours = _COLOURS[number % len(_COLOURS)]
            runs = list(self._runs(cost, stage.name))
            lines = [
                f"output {closeup.size(stage.output_size[1:])}",
                f"{stage.output_size[0]} channels",
            ]
            self._part(stage.name, lines, colours, runs)
        self._part("head", [f"{head[-1].output_size[0]} classes"], _GREYS, [(cost.head, 1)])

    def _runs(self, cost: Cost, stage: str) -> Iterator[tuple[Block, int]]:
        """Yield the blocks to draw, each with how often it stands there."""
        for name, run in cost.runs():
            if name == stage and self.folded:
                yield run[0], len(run)
            elif name == stage:
                yield from ((block, 1) for block in run)

    def _part(
        self,
        name: str,
        lines: list[str],
        colours: tuple[str, str, str],
        runs: list[tuple[Block, int]],
    ) -> None:
        band, self.fill, self.stroke = colours
        top = self.y + 2
        height = max(sum(_height(block) for block, _ in runs), 62)
        self.canvas.box(_LEFT, top, _BAND_RIGHT - _LEFT, height, kind="band", fill=band, radius=8)
        self.canvas.text(_LEFT + 12, top + 20, name, size=13, bold=True, fill=self.stroke)
        for i, line in enumerate(lines):
            self.canvas.text(_LEFT + 12, top + 36 + 14 * i, line, size=11, fill=PALE)
        for block, count in runs:
            self._block(block, count)
        self.y = top + height

    def _block(self, block: Block, count: int) -> None:
        top = max(self.tail, self.y)
        if block.parallel:
            self._box(f"inception {block.name.split('.')[-1]}, {_channels(block)}", "inception")
        else:
            for i, layer in enumerate(_drawn(block.body)):
                self._box(closeup.label(layer), _class(layer), inside=i > 0)
        if block.shortcut != "none":
            self._shortcut(block, top)
        if count > 1:
            self._times(top + 8, self.tail + 2, count)

    def _box(self, text: str, kind: str, *, inside: bool = False) -> None:
        top = self.tail + _INSIDE if inside else max(self.tail + _BETWEEN, self.y + 12)
        self.canvas.down(_CENTRE, self.tail, top)
        self.canvas.box(
            _BOX_X, top, _BOX_WIDTH, _BOX_HEIGHT, kind=kind, fill=self.fill, stroke=self.stroke
        )
        self.canvas.text(_CENTRE, top + 14, text, size=11.5, anchor="middle")
        self.tail = top + _BOX_HEIGHT

    def _shortcut(self, block: Block, top: float) -> None:
        """Draw the curve from above the first box to the addition below the last."""
        begin, end = top + 6, self.tail + 14
        edge, point = _BOX_X + _BOX_WIDTH, _CENTRE + 7
        self.canvas.down(_CENTRE, self.tail, end - 6)
        kind = block.shortcut.replace(" ", "-")
        self.canvas.path(
            f"M{_CENTRE:g},{begin:g}H{edge:g}C{edge + _BULGE:g},{begin:g} "
            f"{edge + _BULGE:g},{end:g} {edge:g},{end:g}H{point + 4:g}",
            kind=f"shortcut {kind}",
            dotted=block.shortcut != "identity",
        )
        self.canvas.head(point, end, "left")
        self.canvas.circle(_CENTRE, end, 6, kind="addition", sign="+")
        middle, right = (begin + end) / 2, edge + 0.75 * _BULGE
        if block.gated:
            self.canvas.circle(right, middle, 8, kind="gate", sign="T")
        if block.shortcut != "identity":
            self.canvas.text(right + 12, middle + 4, _carried(block), size=10.5, fill=PALE)
        self.tail = end + 6

    def _times(self, top: float, bottom: float, count: int) -> None:
        """Bracket a block that stands for several."""
        x = _BOX_X - 14
        self.canvas.path(f"M{x + 6},{top:g}H{x}V{bottom:g}H{x + 6}", kind="fold", stroke=INK)
        middle = (top + bottom) / 2 + 5
        times = f"\N{MULTIPLICATION SIGN} {count}"
        self.canvas.text(x - 8, middle, times, size=15, anchor="end", bold=True)


def _height(block: Block) -> float:
    """Return how much a block adds to the column."""
    boxes = 1 if block.parallel else len(_drawn(block.body))
    if not boxes:
        return 0
    addition = 20 if block.shortcut != "none" else 0
    return _BETWEEN + boxes * _BOX_HEIGHT + (boxes - 1) * _INSIDE + addition


def _drawn(operations: tuple[Layer, ...]) -> list[Layer]:
    """Return what Fig. 3 draws: layers with filters, pools and linear ones."""
    return [each for each in operations if _class(each) != "none"]


def _class(layer: Layer) -> str:
    if layer.kind in ("convolution", "linear"):
        return layer.kind
    return "pool" if "pool" in layer.kind or layer.kind == "spatial pyramid" else "none"


def _carried(block: Block) -> str:
    """Return what a shortcut that is no identity does."""
    if block.shortcut == "projection":
        return closeup.label(block.carried[0])
    stride = block.carried[0].stride
    return f"padded to {_channels(block)}" + (f", /{stride}" if stride > 1 else "")


def _channels(block: Block) -> int:
    return block.operations[-1].output_size[0]


def _sizes(layers: list[Layer]) -> list[str]:
    """Return the sizes of the maps before the first stage, as each layer leaves them."""
    sizes = [closeup.size(each.output_size[1:]) for each in layers]
    return [f"output {sizes[0]}", *(f"then {each}" for each in sizes[1:])]

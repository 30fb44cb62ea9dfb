"""Single blocks drawn as in Figs. 2 and 5 of the paper, and the legend of a diagram."""

from typing import Final

from resnets.experiment.canvas import INK, PALE, Canvas
from resnets.models.cost import Block, Cost, Layer

_WIDTH: Final = 140  # of a box
_HEIGHT: Final = 26
_GAP: Final = 34  # between two boxes
_FILL: Final = "#ffffff"

_TITLES: Final = {
    "none": "plain block",
    "identity": "identity shortcut",
    "zero padding": "zero-padded shortcut, option A",
    "projection": "projection shortcut",
}


def kinds(cost: Cost) -> list[tuple[str, Block]]:
    """Return one block of every kind with what to call it: of projections, one that halves."""
    found: dict[tuple[object, ...], tuple[str, Block]] = {}
    for stage, made in cost.blocks.items():
        for number, block in enumerate(made, start=1):
            if not block.residual:
                continue
            resized = block.body[0].input_size != block.body[-1].output_size
            kernels = tuple(each.kernel for each in block.body)
            kind = (kernels, block.shortcut, block.gated, resized)
            if kind not in found or (_halves(block) and not _halves(found[kind][1])):
                found[kind] = (f"{stage}, block {number}", block)
    return sorted(found.values(), key=lambda each: each[1].shortcut != "identity")


def legend(canvas: Canvas, x: float, y: float, cost: Cost) -> float:
    """Draw what the signs of a network's column mean; return how far down that goes."""
    made = [block for each in cost.blocks.values() for block in each]
    carries = {block.shortcut for block in made}
    lines = {
        "identity": (False, "identity shortcut: no parameters"),
        "projection": (True, "projection shortcut: 1x1 conv, batch norm"),
        "zero padding": (True, "option A: every 2nd pixel, new channels are 0"),
    }
    for carry, (dotted, text) in lines.items():
        if carry in carries:
            canvas.path(f"M{x:g},{y:g}H{x + 34:g}", kind="key", dotted=dotted)
            canvas.head(x + 42, y, "right")
            canvas.text(x + 54, y + 4, text, size=12)
            y += 22
    if carries - {"none"}:
        canvas.circle(x + 21, y, 6, kind="key", sign="+")
        canvas.text(x + 54, y + 4, "addition, then relu", size=12)
        y += 22
    if any(block.gated for block in made):
        canvas.circle(x + 21, y, 8, kind="key", sign="T")
        canvas.text(x + 54, y + 4, "gate T: F(x) T(x) + S(x) (1 \N{MINUS SIGN} T(x))", size=12)
        y += 22
    for text in _remarks(made):
        canvas.text(x, y + 4, text, size=12, fill=PALE)
        y += 18
    return y


def _remarks(made: list[Block]) -> list[str]:
    remarks = ["/2: stride 2, which halves the map"]
    done = {each.kind for block in made for each in block.operations}
    then = [kind for kind in ("batch norm", "relu", "prelu") if kind in done]
    remarks.append(f"each convolution: then {', then '.join(then)}")
    if any(block.shortcut != "none" for block in made):
        remarks.append("the last of a block: then batch norm, then the addition")
    if "local response norm" in done:
        remarks.append("not drawn: local response norm")
    return remarks


def draw(canvas: Canvas, x: float, y: float, name: str, block: Block) -> float:
    """Draw one block below y, its left edge at x; return how far down it goes."""
    title = _TITLES[block.shortcut] + (", halving the map" if _halves(block) else "")
    canvas.text(x, y, f"highway block: {title}" if block.gated else title, size=14, bold=True)
    about = f"{name}; {_figure(block)}"
    canvas.text(x, y + 17, about, size=11.5, fill=PALE)
    centre = x + _WIDTH / 2 + (_WIDTH + 30 if block.gated else 50)
    y += 40
    canvas.text(centre, y, f"x: {size(block.body[0].input_size)}", size=12, anchor="middle")
    top = y + 6
    branch = top + 12
    bottom = _body(canvas, centre, top, block)
    if block.gated:
        bottom = _gate(canvas, centre, branch, bottom, block)
    if block.shortcut != "none":
        bottom += 18
        canvas.head(centre, bottom - 8, "down")
        canvas.path(f"M{centre:g},{bottom - 24:g}V{bottom - 12:g}", kind="flow")
        _shortcut(canvas, centre, branch, bottom, block)
        canvas.circle(centre, bottom, 8, kind="addition", sign="+")
        bottom += 8
    canvas.down(centre, bottom, bottom + _GAP)
    canvas.text(centre + 8, bottom + 20, block.operations[-1].kind, size=11, fill=PALE)
    bottom += _GAP + 16
    after = size(block.operations[-1].output_size)
    canvas.text(centre, bottom, f"y: {after}", size=12, anchor="middle")
    canvas.text(centre, bottom + 19, _equation(block), size=12, anchor="middle", bold=True)
    return bottom + 24


def label(layer: Layer) -> str:
    """Return what stands in a box, as the paper writes it: `3x3 conv, 128, /2`."""
    if layer.kind == "linear":
        return f"fc {layer.output_size[0]}"
    if layer.kind == "convolution":
        text = f"{layer.kernel} conv, {layer.output_size[0]}"
    elif layer.kind == "max pool":
        text = f"{layer.kernel} max pool"
    else:
        text = layer.kind.replace("average", "avg")
    return text + (f", /{layer.stride}" if layer.stride > 1 else "")


def size(of: tuple[int, ...]) -> str:
    """Return the size of a map as the paper writes it: 56x56, with channels first if they are."""
    return "\N{MULTIPLICATION SIGN}".join(map(str, of))


def _body(canvas: Canvas, centre: float, top: float, block: Block) -> float:
    """Draw F(x): a box for each convolution, and what follows it beside the arrow."""
    y = top
    boxes = [i for i, each in enumerate(block.body) if each.kind == "convolution"]
    for number, i in enumerate(boxes):
        gap = 24 if number == 0 else _GAP
        canvas.down(centre, y, y + gap)
        y += gap
        _box(canvas, centre, y, [label(block.body[i])])
        y += _HEIGHT
        end = boxes[number + 1] if number + 1 < len(boxes) else len(block.body)
        follows = ", ".join(each.kind for each in block.body[i + 1 : end])
        canvas.text(centre + 8, y + 20, follows, size=11, fill=PALE)
    if not block.gated:
        left, middle = centre - _WIDTH / 2 - 10, (top + 24 + y) / 2
        canvas.text(left, middle + 4, "F(x)", size=13, anchor="end", bold=True)
    last = 36 if block.gated else 26
    canvas.path(f"M{centre:g},{y:g}V{y + last:g}", kind="flow")
    return y + last


def _shortcut(canvas: Canvas, centre: float, begin: float, end: float, block: Block) -> None:
    """Draw S(x) on the right, from the input to the addition."""
    edge, point = centre + _WIDTH / 2, centre + 9
    kind = f"shortcut {block.shortcut.replace(' ', '-')}"
    middle = (begin + end) / 2
    if block.shortcut == "identity" and not block.gated:
        bulge = 76
        canvas.path(
            f"M{centre:g},{begin:g}H{edge:g}C{edge + bulge:g},{begin:g} "
            f"{edge + bulge:g},{end:g} {edge:g},{end:g}H{point + 4:g}",
            kind=kind,
        )
        canvas.text(edge + 0.75 * bulge + 8, middle - 4, "x", size=13, bold=True)
        canvas.text(edge + 0.75 * bulge + 8, middle + 12, "identity", size=11, fill=PALE)
    else:
        right = edge + 56 + _WIDTH / 2  # clear of the words beside the arrows
        dotted = block.shortcut != "identity"
        canvas.path(
            f"M{centre:g},{begin:g}H{right - 12:g}Q{right:g},{begin:g} {right:g},{begin + 12:g}"
            f"V{end - 12:g}Q{right:g},{end:g} {right - 12:g},{end:g}H{point + 4:g}",
            kind=kind,
            dotted=dotted,
        )
        if dotted:
            lines = _carried(block)
            _box(canvas, right, middle - 8 * len(lines) - 14, lines)
        else:
            canvas.text(right + 8, middle - 14, "identity", size=11, fill=PALE)
        if block.gated:
            canvas.circle(right, end - 34, 8, kind="gate", sign="x")
            canvas.text(right + 14, end - 30, "1 \N{MINUS SIGN} T(x)", size=12, bold=True)
    canvas.head(point, end, "left")


def _gate(canvas: Canvas, centre: float, begin: float, bottom: float, block: Block) -> float:
    """Draw T(x) on the left, from the input to its product with F(x)."""
    left, end = centre - _WIDTH - 24, bottom + 2
    canvas.path(
        f"M{centre:g},{begin:g}H{left + 12:g}Q{left:g},{begin:g} {left:g},{begin + 12:g}"
        f"V{end - 12:g}Q{left:g},{end:g} {left + 12:g},{end:g}H{centre - 12:g}",
        kind="gate",
    )
    canvas.head(centre - 8, end, "right")
    lines = [label(each) for each in block.gate]
    _box(canvas, left, (begin + end) / 2 - 20, lines)
    canvas.text(left + 20, end - 6, "T(x)", size=12, bold=True)
    canvas.circle(centre, end, 8, kind="gate", sign="x")
    return end + 14


def _box(canvas: Canvas, centre: float, top: float, lines: list[str]) -> None:
    height = _HEIGHT + 15 * (len(lines) - 1)
    x = centre - _WIDTH / 2
    canvas.box(x, top, _WIDTH, height, kind="layer", fill=_FILL, stroke=INK)
    for i, line in enumerate(lines):
        canvas.text(centre, top + 17 + 15 * i, line, size=12, anchor="middle")


def _carried(block: Block) -> list[str]:
    first = block.carried[0]
    if block.shortcut == "projection":
        return [label(first), *(each.kind for each in block.carried[1:])]
    new = first.output_size[0] - first.input_size[0]
    return ["every 2nd pixel" if first.stride == 2 else "every pixel", f"{new} channels of 0"]


def _figure(block: Block) -> str:
    """Return where the block is drawn or defined: in He et al. 2015, but for the gated one."""
    if block.gated:
        return "Srivastava et al. 2015, eq. (3)"
    basic = sum(each.kind == "convolution" for each in block.body) == 2
    figure = f"Fig. 5, {'left' if basic else 'right'}"
    equation = {"identity": "eq. (1)", "projection": "eq. (2)", "zero padding": "sec. 3.3"}
    if block.shortcut == "none":
        return f"{figure}, without the shortcut"
    both = f"Fig. 2; {figure}" if basic else figure
    return f"{both}; {equation[block.shortcut]}"


def _equation(block: Block) -> str:
    carried = {"identity": "x", "projection": "W\N{LATIN SUBSCRIPT SMALL LETTER S}x"}
    s = carried.get(block.shortcut, "S(x)")
    if block.gated:
        return f"y = relu(F(x) T(x) + {s} (1 \N{MINUS SIGN} T(x)))"
    return "y = relu(F(x))" if block.shortcut == "none" else f"y = relu(F(x) + {s})"


def _halves(block: Block) -> bool:
    return block.body[0].input_size[1] != block.operations[-1].output_size[1]

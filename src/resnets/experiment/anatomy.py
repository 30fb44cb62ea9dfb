"""What each block of a network does, in words and worked-out numbers: the rows of tables."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from resnets.models.cost import Block, Cost, Layer

FORMULA: Final = "floor((input + 2*padding - kernel)/stride) + 1"
COLUMNS: Final = ["", "operations", "stride", "padding", "height, and width alike", "size"]


@dataclass(frozen=True, slots=True)
class Explained:
    """A block, or a run of equal ones: a title, and a row of `COLUMNS` for each layer."""

    title: str
    rows: list[list[str]]


def stages(cost: Cost) -> list[list[str]]:
    """Return a row for each stage, and for each layer before and after: as in Table 1.

    The cells are name, output size, layers, parameters, multiply-adds.
    """
    before, inside, after = apart(cost)
    for rows, name in ((before, "conv1"), (after, "head")):
        for row in rows:
            row[0] = name if row is rows[0] else ""
    return [*before, *inside, *after]


def apart(cost: Cost) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Return the rows of layers before the stages, of stages, and of layers after them.

    The cells are those of `stages`; a layer has its own name.
    """
    before = [_single(step) for step in _steps(cost.stem.operations)]
    after = [_single(step) for step in _steps(cost.head.operations)]
    inside = [
        [
            stage.name,
            _side(stage.output_size),
            _contents(cost.blocks[stage.name]),
            f"{stage.parameters:,}",
            f"{stage.multiply_adds:,}",
        ]
        for stage in cost.stages
    ]
    return before, inside, after


def blocks(cost: Cost) -> list[Explained]:
    """Return the layers before the stages, every different block once, and the layers after."""
    found = []
    if cost.stem.operations:
        found.append(Explained("before the stages", list(_rows(cost.stem))))
    numbers = dict.fromkeys(cost.blocks, 1)
    for stage, run in cost.runs():
        title = stage
        if run[0].residual:
            first, of = numbers[stage], len(cost.blocks[stage])
            numbers[stage] += len(run)
            title += f", {_numbered(first, len(run), of)}: {_SHORTCUTS[run[0].shortcut]}"
        elif run[0].name.count(".") > 1:
            title += f", {run[0].name.split('.')[-1]}"
        found.append(Explained(title, list(_rows(run[0]))))
    found.append(Explained("after the stages", list(_rows(cost.head))))
    return found


def why_filters_double(cost: Cost) -> str:
    """Return why, with this network's own numbers; "" where they do not double.

    Source: He et al. 2015, sec. 3.3.
    """
    ordinary = {
        name: max(made[-1].body, key=lambda each: each.reach_px or 0)
        for name, made in cost.blocks.items()
        if made[-1].residual and made[-1].body[0].input_size == made[-1].operations[-1].output_size
    }
    layers = list(ordinary.values())
    doubled = [b.output_size[0] == 2 * a.output_size[0] for a, b in pairwise(layers)]
    if not doubled or not all(doubled):
        return ""
    worked = "; ".join(f"{name}: {_product(layer)}" for name, layer in ordinary.items())
    equal = len({layer.multiply_adds for layer in layers}) == 1
    return (
        "Why the filters double where the stride halves the map (sec. 3.3): a stride of 2 leaves a "
        "quarter of the places, and twice the filters on twice the channels are four times the "
        "weights, so each layer takes as long as the one before. An ordinary "
        f"{layers[0].kernel} convolution has, in multiply-adds, {worked}: "
        + (
            "equal."
            if equal
            else "not quite equal here, because half of an odd size is rounded up."
        )
    )


_SHORTCUTS: Final = {
    "none": "no shortcut (plain)",
    "identity": "identity shortcut",
    "zero padding": "shortcut of option A, zero-padded",
    "projection": "projection shortcut",
}


def _product(layer: Layer) -> str:
    c_in, c_out = layer.input_size[0], layer.output_size[0]
    kernel, height, width = layer.kernel.replace("x", "*"), *layer.output_size[1:]
    return f"{c_in}*{c_out}*{kernel}*{height}*{width} = {layer.multiply_adds:,}"


def _numbered(first: int, count: int, of: int) -> str:
    if count == 1:
        return f"block {first} of {of}"
    return f"blocks {first} to {first + count - 1} of {of}"


def _contents(made: tuple[Block, ...]) -> str:
    """Return a stage's convolutions and pools as Table 1 writes them: `[3x3, 64; 3x3, 64] x 3`."""
    parts: list[str] = []
    for block in made:
        if block.residual:
            inside = "; ".join(f"{each.kernel}, {each.output_size[0]}" for each in _sliding(block))
            parts.append(f"[{inside}]")
        elif block.parallel:
            parts.append(f"inception {block.name.split('.')[-1]}")
        else:
            parts += [_short(each) for each in _sliding(block)]
    return "; ".join(_counted(parts))


def _sliding(block: Block) -> list[Layer]:
    return [each for each in block.body if each.kernel]


def _counted(parts: Iterable[str]) -> Iterator[str]:
    """Yield neighbours that are equal once, with their number."""
    for part, group in groupby(parts):
        count = len(list(group))
        if count == 1 and not part.startswith("["):
            yield part
        else:
            yield f"{part if part.startswith('[') else f'[{part}]'} x {count}"


def _single(step: tuple[Layer, ...]) -> list[str]:
    first = step[0]
    size = _side(first.output_size)
    count = f"{first.multiply_adds:,}" if first.multiply_adds else ""
    parameters = sum(each.parameters for each in step)
    return [first.name, size, _short(first), f"{parameters:,}" if parameters else "", count]


def _short(layer: Layer) -> str:
    if layer.kind == "convolution":
        text = f"{layer.kernel}, {layer.output_size[0]}"
    elif layer.kind == "linear":
        return f"{layer.output_size[0]}-d fc"
    elif layer.output_size[1:] == (1, 1):
        return layer.kind
    else:
        text = f"{layer.kernel} {layer.kind}".strip()
    return text + (f", stride {layer.stride}" if layer.stride > 1 else "")


def _side(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size[1:])) or "1x1"


def _rows(block: Block) -> Iterator[list[str]]:
    if block.parallel:
        for step in _steps(block.operations):
            branch = step[0].name.removeprefix(block.name).split(".")[1]
            yield _row("" if step[0] is block.operations[-1] else branch, step)
        return
    if not block.residual:
        for row, group in groupby(_row("", step) for step in _steps(block.operations)):
            count = len(list(group))
            yield row if count == 1 else [row[0], f"{row[1]} (x {count})", *row[2:]]
        return
    for part, operations in (("F", block.body), ("S", block.carried), ("T", block.gate)):
        yield from (_row(f"{part}(x)", step) for step in _steps(operations))
    last = block.operations[-1]
    total = "F(x)" if block.shortcut == "none" else "F(x) + S(x)"
    if block.gated:
        total = "F(x) T(x) + S(x) (1 - T(x))"
    yield ["y", f"{total}; {last.kind}", "", "", "", _size(last.output_size)]


def _steps(operations: tuple[Layer, ...]) -> Iterator[tuple[Layer, ...]]:
    """Yield each layer that changes sizes or has filters, with the operations that follow it."""
    step: list[Layer] = []
    for each in operations:
        if step and (each.reach_px is not None or each.kind in _BEGINNING):
            yield tuple(step)
            step = []
        step.append(each)
    if step:
        yield tuple(step)


_BEGINNING: Final = (
    *("linear", "identity", "average pool", "max pool", "spatial pyramid", "concatenation"),
)


def _row(part: str, step: tuple[Layer, ...]) -> list[str]:
    first = step[0]
    slides = first.reach_px is not None
    return [
        part,
        "; ".join([_in_words(first), *(each.kind for each in step[1:])]),
        str(first.stride) if slides else "",
        str(first.padding) if slides else "",
        first.formula,
        f"{_size(first.input_size)} -> {_size(first.output_size)}",
    ]


def _in_words(layer: Layer) -> str:
    if layer.kind == "convolution":
        return f"{layer.kernel} conv, {layer.output_size[0]}"
    if layer.kind == "linear":
        return f"fc, {layer.output_size[0]}"
    if layer.kind == "zero padding":
        new = layer.output_size[0] - layer.input_size[0]
        return (
            f"every {_ORDINALS.get(layer.stride, f'{layer.stride}th')} pixel; {new} channels of 0"
        )
    return f"{layer.kernel} {layer.kind}".strip()


_ORDINALS: Final = {1: "1st", 2: "2nd", 3: "3rd"}


def _size(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))

"""Where in an image a network saw a class: the class activation map, drawn over the picture."""

import bisect
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from resnets.core import artifacts
from resnets.core.errors import ImageError, ModelError, ResNetsError
from resnets.inference.pictures import Picture
from resnets.models.googlenet import GoogLeNet
from resnets.models.making import Network
from resnets.models.network import ResNet

_SOFTWARE: Final = "resnets, an explanation"  # in the file, so that another run may replace it
EXACT = "class activation map, exact: the logit is its mean plus the bias"


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much every place of an image spoke for one class.

    Args:
        file: The image.
        class_name: The class.
        class_index: The same, from 0.
        probability: Its softmax score, in [0, 1].
        map_hw: Contribution of each place of the last map to the class's logit, float32, (h, w).
            The logit is the mean of this plus the class's bias.
        bias: That bias.
        method: How it was computed.
        view: The part of the image the network saw, resized as it saw it.
    """

    file: str
    class_name: str
    class_index: int
    probability: float
    map_hw: Tensor
    bias: float
    method: str
    view: Image.Image

    def picture(self) -> Image.Image:
        """Return the view beside the view under its map, with a scale and a caption."""
        return _picture(self)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        said = PngInfo()
        said.add_text("Software", _SOFTWARE)
        self.picture().save(content, format="PNG", pnginfo=said)
        return content.getvalue()


def of_view(
    network: Network,
    ready_nchw: Tensor,
    pixels_hwc: np.ndarray,
    *,
    file: str,
    classes: Sequence[str],
    class_index: int | None = None,
) -> Explanation:
    """Return which places of one view spoke for a class.

    In a network that ends in the mean over space and one linear layer, a logit is the mean of a
    map: that linear layer applied at every place. The map is therefore exact, not a heuristic.

    Args:
        network: One that ends so: every residual or plain network here, and GoogLeNet.
        ready_nchw: The view as the network takes it, (1, 3, h, w).
        pixels_hwc: The view as a picture, uint8.
        file: What to call it.
        classes: Names of the classes.
        class_index: Of which class; by default the most probable.

    Raises:
        ModelError: The network does not end so.
        ResNetsError: It has no such class.

    Source: Zhou et al. 2016, sec. 2, eq. (1) and (2).
    """
    network = _check_ending(network)
    with torch.inference_mode():
        last = list(network.features(ready_nchw).values())[-1]
        scores = network.head(last.mean(dim=(2, 3)))[0]
        index = int(scores.argmax()) if class_index is None else class_index
        if not 0 <= index < len(scores):
            raise ResNetsError(f"class {index}: this network has {len(scores)} classes, from 0")
        map_hw = torch.einsum("c,chw->hw", network.head.weight[index], last[0]).cpu()
    return Explanation(
        file=file,
        class_name=classes[index],
        class_index=index,
        probability=float(scores.softmax(0)[index]),
        map_hw=map_hw,
        bias=float(network.head.bias.detach()[index]),
        method=EXACT,
        view=Image.fromarray(pixels_hwc),
    )


def _check_ending(network: Network) -> ResNet | GoogLeNet:
    if not isinstance(network, ResNet | GoogLeNet):
        raise ModelError(
            f"--explain: {network.spec.kind} does not end in a mean over space and one linear "
            "layer; exact maps exist for residual and plain networks and GoogLeNet"
        )
    return network


def check(network: Network, to: Path, wanted: Sequence[Picture]) -> None:
    """Refuse a network that has no exact maps, and a place that pictures cannot go to.

    Raises:
        ModelError: The network does not end in a mean over space and one linear layer.
        ResNetsError: One image needs a .png or a folder, several need a folder; and a picture is
            not written over the image it explains.
    """
    _check_ending(network)
    check_place(to, wanted)


def check_place(to: Path, wanted: Sequence[Picture]) -> None:
    """Refuse a place that pictures cannot go to.

    Raises:
        ResNetsError: One image needs a .png or a folder, several need a folder; and a picture is
            not written over the image it explains.
    """
    if any(Path(picture.name).resolve() == to.resolve() for picture in wanted):
        raise ResNetsError(f"--explain {to}: is the image itself; name another file or a folder")
    png = to.suffix.lower() == ".png"
    if to.is_dir() or (not to.exists() and not to.suffix) or (png and len(wanted) == 1):
        return
    if png:
        raise ResNetsError(f"--explain {to}: for {len(wanted)} images, name a folder")
    raise ResNetsError(f"--explain {to}: takes a file ending in .png, or a folder")


def draw(
    explain: Callable[[Picture], Explanation], wanted: Sequence[Picture], to: Path
) -> Iterator[tuple[Path, Explanation]]:
    """Write the explanation of each picture that can be decoded; yield where, and what it is.

    Args:
        explain: Explains a picture.
        wanted: The pictures.
        to: A .png for one, or a folder, in which each gets its own name. Nothing in the folder
            is written over but earlier explanations.

    Raises:
        StorageError: A picture cannot be written.
    """
    taken = there(to)
    for picture in wanted:
        try:
            found = explain(picture)
        except ImageError:  # said by the prediction already
            continue
        path = place_of(picture, to, taken)
        artifacts.write_bytes(path, found._repr_png_())
        yield path, found


def place_of(picture: Picture, to: Path, taken: set[str]) -> Path:
    """Return where the drawing of a picture goes.

    Args:
        picture: Which.
        to: A .png for one, or a folder.
        taken: The names in the folder that are not free; the new one is added.
    """
    if to.suffix.lower() == ".png" and not to.is_dir():
        return to
    return to / _free(Path(picture.name).stem, taken)


def there(folder: Path) -> set[str]:
    """Return the names of pictures that are not free in a folder: all but explanations'."""
    there = folder.iterdir() if folder.is_dir() else ()
    pngs = [path for path in there if path.suffix.lower() == ".png"]
    return {path.name.casefold() for path in pngs if not _is_explanation(path)}


def _is_explanation(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.format == "PNG" and image.info.get("Software") == _SOFTWARE
    # Pillow raises many kinds on files that are no image; none of them is an explanation.
    except Exception:
        return False


def _free(stem: str, taken: set[str]) -> str:
    """Return a file name that is not taken, on a disk that knows no capitals either."""
    name, number = f"{stem}.png", 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name.casefold())
    return name


# The drawing. Colours of evidence of half and of full strength, and how much they cover the
# picture, which is grey: no place is coloured but by its evidence.
_STRENGTHS: Final = (0.0, 0.5, 1.0)
_COVER: Final = (0.0, 0.6, 0.85)
_FOR: Final = np.array([(255, 235, 150), (250, 130, 40), (185, 0, 40)], dtype=np.float32)
_AGAINST: Final = np.array([(200, 225, 250), (70, 140, 210), (10, 50, 140)], dtype=np.float32)
_SIDE_PX: Final = 480
_MARGIN_PX: Final = 20
_BAR_PX: Final = 22
_SCALE_PX: Final = 110  # the bar, its numbers and what they are
_CAPTION_PX: Final = 92
_INK, _PALE = "#111111", "#555555"


def _picture(found: Explanation) -> Image.Image:
    plain = found.view.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC)
    map_hw = found.map_hw.nan_to_num()  # of a network broken in training: the logit says so
    low, high = min(0.0, float(map_hw.min())), max(0.0, float(map_hw.max()))
    second_px = 2 * _MARGIN_PX + _SIDE_PX
    scale_px = second_px + _SIDE_PX + _MARGIN_PX
    page = Image.new(
        "RGB", (scale_px + _SCALE_PX, 2 * _MARGIN_PX + _SIDE_PX + _CAPTION_PX), "white"
    )
    page.paste(plain, (_MARGIN_PX, _MARGIN_PX))
    page.paste(_overlaid(plain, map_hw, max(-low, high)), (second_px, _MARGIN_PX))
    _draw_scale(page, scale_px, low, high)
    mean = float(found.map_hw.mean())
    rows, columns = map_hw.shape
    side = found.view.width
    _write(page, _MARGIN_PX, f"{found.class_name}, {100 * found.probability:.1f} %", 0, 24, _INK)
    _write(page, _MARGIN_PX, Path(found.file).name, 36, 15, _PALE)
    _write(page, _MARGIN_PX, f"as the network saw it: {side} x {side} px", 60, 15, _PALE)
    sign = "-" if found.bias < 0 else "+"
    logit = f"logit {mean + found.bias:z.2f} = {mean:z.2f} (mean of the map)"
    shown = f"{logit} {sign} {abs(found.bias):.2f} (bias)"
    _write(page, second_px, shown, 3, 18, _INK)
    colours = f"red: for the class; blue: against it; {rows} x {columns} places, interpolated"
    _write(page, second_px, colours, 36, 15, _PALE)
    _write(page, second_px, found.method, 60, 15, _PALE)
    return page


def _overlaid(plain: Image.Image, map_hw: Tensor, strongest: float) -> Image.Image:
    """Return the picture in grey under its map."""
    side = plain.size[0]
    smooth = F.interpolate(
        map_hw[None, None], size=(side, side), mode="bicubic", align_corners=False
    )[0, 0].clamp(map_hw.min(), map_hw.max())  # a bicubic overshoots what there is
    grey = _pale(np.asarray(plain.convert("L"), dtype=np.float32))
    return Image.fromarray(_coloured(smooth.numpy(), strongest, grey))


def _pale(grey: np.ndarray) -> np.ndarray:
    """Return a paler grey, on which colours stay what they are."""
    return 90 + np.float32(0.62) * grey


def _coloured(evidence: np.ndarray, strongest: float, grey: np.ndarray) -> np.ndarray:
    """Return the colour of evidence over a grey picture of the same shape: uint8, (h, w, 3)."""
    strength = np.abs(evidence) / max(strongest, 1e-12)
    cover = np.interp(strength, _STRENGTHS, _COVER)[..., None]
    ramp = np.where((evidence >= 0)[..., None, None], _FOR, _AGAINST)  # (h, w, 3 strengths, RGB)
    part = (2 * strength[..., None]).clip(0, 2)
    lower, upper = part.clip(0, 1), part.clip(1, 2) - 1
    colour = ramp[..., 0, :] + lower * (ramp[..., 1, :] - ramp[..., 0, :])
    colour = colour + upper * (ramp[..., 2, :] - ramp[..., 1, :])
    mixed = (1 - cover) * grey[..., None] + cover * colour
    coloured: np.ndarray = mixed.round().clip(0, 255).astype(np.uint8)
    return coloured


def _draw_scale(page: Image.Image, left_px: int, low: float, high: float) -> None:
    """Draw what each colour is worth, over a middle grey, in units of the logit."""
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(15)
    levels = np.linspace(high, low, _SIDE_PX, dtype=np.float32)[:, None].repeat(_BAR_PX, axis=1)
    bar = _coloured(levels, max(-low, high), _pale(np.full_like(levels, 128)))
    page.paste(Image.fromarray(bar), (left_px, _MARGIN_PX))
    right_px = left_px + _BAR_PX
    for value in _ticks(low, high):
        share = (high - value) / (high - low) if high > low else 0.5
        y = _MARGIN_PX + share * (_SIDE_PX - 1)
        draw.line([(right_px, y), (right_px + 5, y)], fill=_INK)
        draw.text((right_px + 9, y), f"{value:+g}" if value else "0", _INK, font, anchor="lm")
    label = "contribution to the logit"
    size = (round(font.getlength(label)), 20)
    lying = Image.new("RGB", size, "white")
    ImageDraw.Draw(lying).text((0, 10), label, _PALE, font, anchor="lm")
    standing = lying.rotate(90, expand=True)
    middle_px = _MARGIN_PX + (_SIDE_PX - standing.height) // 2
    page.paste(standing, (page.width - standing.width - 4, middle_px))


def _ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers between two, 0 among them."""
    if not high > low:
        return [0.0]
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{number * step:.6g}") for number in range(first, last + 1)]


def _write(
    page: Image.Image, left_px: int, text: str, down_px: int, size: int, colour: str
) -> None:
    """Write one line under a picture, cut to the picture's width."""
    font = ImageFont.load_default(size)
    line = " ".join(text.split())
    if font.getlength(line) > _SIDE_PX:
        lengths = range(len(line) + 1)
        too_many = bisect.bisect_right(
            lengths, _SIDE_PX, key=lambda length: math.ceil(font.getlength(line[:length] + "..."))
        )
        line = line[: too_many - 1] + "..."
    top_px = _MARGIN_PX + _SIDE_PX + 12 + down_px
    ImageDraw.Draw(page).text((left_px, top_px), line, fill=colour, font=font)

"""What the index of a pack says of boxes, beside where the images lie (`data/packs.py`)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, Final, TypeVar, get_args

import torch
from torch import Tensor

from resnets.data.annotated import AnnotatedFiles, Annotations, DetectionData, Objects
from resnets.data.flaws import Flaw, FlawKind

# Of the objects of all images: name in the index -> dtype; beside them `starts_n`, `sizes_n2`.
_OBJECTS: Final = {
    "boxes_m4": torch.float32,
    "classes_m": torch.int64,
    "ignored_m": torch.bool,
    "crowd_m": torch.bool,
    "area_m": torch.float32,
}
_TEXTS: Final = ("ids", "flaws")  # JSON, as bytes: long for a header
_KINDS: Final = get_args(FlawKind)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PackedBoxes:
    """The annotations of the images of a pack, in their order.

    Args:
        category_ids: As of `DetectionData`.
        annotated: Of each split, in their order.
        ids: Of the n images, as of `AnnotatedFiles`.
        objects: Of the n images.
        sizes_n2: int64, shape (n, 2), as of `AnnotatedFiles`; 0, 0 where nothing tells.
        flaws: Of each split.
    """

    category_ids: tuple[int, ...]
    annotated: tuple[bool, ...]
    ids: tuple[int | str, ...]
    objects: Annotations
    sizes_n2: Tensor
    flaws: tuple[tuple[Flaw, ...], ...]

    def part(
        self, number: int, images: slice, names: tuple[str, ...], read: Callable[[int], bytes]
    ) -> AnnotatedFiles:
        """Return one split.

        Args:
            number: Which, in their order.
            images: Those of the split.
            names: Of them.
            read: Of them.
        """
        annotated = self.annotated[number]
        return AnnotatedFiles(
            names,
            self.ids[images],
            Annotations.of(self.objects[images]),
            read,
            annotated,
            self.sizes_n2[images] if annotated else None,  # where nobody drew, nobody looked
            self.flaws[number],
        )


def of(data: DetectionData, number_n: Tensor, scaled_s5: Tensor) -> PackedBoxes:
    """Return the annotations of the images that were packed.

    Args:
        data: What they are from.
        number_n: int64: of each packed image, its number over all splits.
        scaled_s5: int64: of each that was resized its number, its width and height as they were,
            and as they are: its boxes, areas and sizes go with it.
    """
    splits = list(data.splits.values())
    numbers = number_n.tolist()
    ids = [each for files in splits for each in files.ids]
    every = [files.objects[i] for files in splits for i in range(len(files))]
    sizes_n2 = torch.cat([_sizes(files) for files in splits])[number_n]
    objects = Annotations.of(every[number] for number in numbers)
    if len(scaled_s5):
        objects, sizes_n2 = _resized(objects, sizes_n2, number_n, scaled_s5)
    return PackedBoxes(
        category_ids=data.category_ids,
        annotated=tuple(files.annotated for files in splits),
        ids=tuple(ids[number] for number in numbers),
        objects=objects,
        sizes_n2=sizes_n2,
        flaws=tuple(files.flaws for files in splits),
    )


def tensors(boxes: PackedBoxes) -> dict[str, Tensor]:
    """Return what an index holds of boxes as tensors."""
    every = boxes.objects.every
    found = {name: getattr(every, f.name) for name, f in zip(_OBJECTS, fields(every), strict=True)}
    texts = {"ids": boxes.ids, "flaws": [list(map(astuple, each)) for each in boxes.flaws]}
    coded = {name: bytearray(json.dumps(value).encode()) for name, value in texts.items()}
    return {
        **found,
        "starts_n": boxes.objects.starts_n,
        "sizes_n2": boxes.sizes_n2,
        **{name: torch.frombuffer(each, dtype=torch.uint8) for name, each in coded.items()},
    }


def about(boxes: PackedBoxes) -> dict[str, Any]:
    """Return what the header of an index says of boxes."""
    return {"category_ids": boxes.category_ids, "annotated": boxes.annotated}


def parsed(found: Mapping[str, Tensor], header: Mapping[str, Any]) -> PackedBoxes:
    """Take apart what `tensors` and `about` put together.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is not what it should be.
        ValueError: The same.
    """
    ids, flaws = (json.loads(found[name].numpy().tobytes()) for name in _TEXTS)
    for name, dtype in _OBJECTS.items():
        if found[name].dtype != dtype or found[name].dim() != (2 if name == "boxes_m4" else 1):
            raise TypeError
    return PackedBoxes(
        category_ids=tuple(_only(int, each) for each in header["category_ids"]),
        annotated=tuple(_only(bool, each) for each in header["annotated"]),
        ids=tuple(each if type(each) is int else _only(str, each) for each in ids),
        objects=Annotations(Objects(*(found[name] for name in _OBJECTS)), found["starts_n"]),
        sizes_n2=found["sizes_n2"],
        flaws=tuple(tuple(map(_flaw, each)) for each in flaws),
    )


def wrong(boxes: PackedBoxes, images: int, splits: int, classes: int) -> str | None:
    """Say what of boxes cannot be; their own checksum lets only made-up ones come here."""
    every, starts_n = boxes.objects.every, boxes.objects.starts_n
    m = every.boxes_n4.shape[0]
    if {len(boxes.annotated), len(boxes.flaws)} != {splits} or len(boxes.ids) != images:
        return "there are not as many annotations as images"
    if len(boxes.category_ids) != classes:
        return "there are not as many categories as classes"
    shapes = [tuple(getattr(every, field.name).shape) for field in fields(every)]
    if shapes != [(m, 4), *[(m,)] * 4] or boxes.sizes_n2.shape != (images, 2):
        return "the columns of boxes are not as long"
    if starts_n.dtype != torch.int64 or starts_n.shape != (images + 1,):
        return "it does not tell which image a box is of"
    if int(starts_n[0]) or int(starts_n[-1]) != m or bool((starts_n.diff() < 0).any()):
        return "it does not tell which image a box is of"
    if boxes.sizes_n2.dtype != torch.int64 or bool((boxes.sizes_n2 < 0).any()):
        return "there are images of no size"
    if not bool(_are_boxes(every)):
        return "there are boxes that are none"
    if m and not 0 <= int(every.classes_n.min()) <= int(every.classes_n.max()) < classes:
        return "there are boxes of no class"
    return None


def _are_boxes(every: Objects) -> Tensor:
    sides_m2 = every.boxes_n4[:, 2:] - every.boxes_n4[:, :2]
    finite = every.boxes_n4.isfinite().all() & every.area_n.isfinite().all()
    return finite & (every.boxes_n4 >= 0).all() & (sides_m2 > 0).all()


def _sizes(files: AnnotatedFiles) -> Tensor:
    if files.sizes_n2 is None:
        return torch.zeros(len(files), 2, dtype=torch.int64)
    return files.sizes_n2


def _resized(
    objects: Annotations, sizes_n2: Tensor, number_n: Tensor, scaled_s5: Tensor
) -> tuple[Annotations, Tensor]:
    """Return objects and sizes in pixels of the images as they are now."""
    at_s = torch.searchsorted(number_n, scaled_s5[:, 0].contiguous())  # numbers ascend
    was_n2, is_n2 = sizes_n2.clone(), sizes_n2.clone()
    factors_n2 = torch.ones(len(number_n), 2, dtype=torch.float64)
    was_n2[at_s], is_n2[at_s] = scaled_s5[:, 1:3], scaled_s5[:, 3:5]
    factors_n2[at_s] = scaled_s5[:, 3:5].double() / scaled_s5[:, 1:3].double()
    image_m = objects.image_n
    every, factors_m2 = objects.every, factors_n2[image_m]
    boxes_m4 = every.boxes_n4 * factors_m2.repeat(1, 2)
    # What was inside the picture stays so, to the last bit.
    was_m4, is_m4 = (size_n2[image_m].repeat(1, 2) for size_n2 in (was_n2, is_n2))
    inside_m4 = every.boxes_n4 <= was_m4
    boxes_m4 = torch.where(inside_m4, boxes_m4.minimum(is_m4), boxes_m4).float()
    area_m = (every.area_n * factors_m2.prod(1)).float()
    known_n1 = (sizes_n2 > 0).all(1, keepdim=True)
    told_n2 = (sizes_n2 * factors_n2).round().long()  # an annotation may tell another size
    sizes_n2 = torch.where((sizes_n2 == was_n2).all(1, keepdim=True), is_n2, told_n2) * known_n1
    return Annotations(replace(every, boxes_n4=boxes_m4, area_n=area_m), objects.starts_n), sizes_n2


def _flaw(given: Any) -> Flaw:
    kind, name, why = given
    return Flaw(_KINDS[_KINDS.index(kind)], _only(str, name), _only(str, why))


def _only(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise TypeError
    return value

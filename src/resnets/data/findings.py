"""What checking a data set found; shows as a table in a terminal and in a notebook."""

import html
import itertools
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Severity = Literal["error", "warning", "note"]

_CASES: Final = 3  # shown of a finding
_IMAGES: Final = 3  # shown of a case
_CLASSES: Final = 20  # where there are more, the table shows the smallest and the largest
_ENDS: Final = 5  # of each
_INDENT: Final = 9
_WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Args:
        code: Its name in JSON.
        severity: An error spoils training or what is measured; a warning may; a note says what
            becomes of the images.
        title: Stands after "3 images", "3 classes" or "3 boxes".
        advice: What it means and what to do, in a few words.
        of: What each of its cases is about.
    """

    code: str
    severity: Severity
    title: str
    advice: str
    of: Literal["image", "class", "box"] = "image"


_REPLACE: Final = "set aside in training; replace or remove"
# In the order in which they are shown.
KINDS: Final = (
    Kind(
        "leaked",
        "error",
        "in several splits",
        "the error measured on them is too low; keep each in one split",
    ),
    Kind("conflicting", "error", "in several classes", "keep each in the class that is right"),
    Kind("truncated", "error", "cut off before the end", _REPLACE),
    Kind("not-an-image", "error", "of no format that can be read", _REPLACE),
    Kind("empty-file", "error", "without a byte", _REPLACE),
    Kind("damaged", "error", "that cannot be decoded", _REPLACE),
    Kind("refused", "error", "of a size or format that is refused", _REPLACE),
    Kind("cannot-be-read", "error", "that cannot be read from where they are", _REPLACE),
    Kind(
        "missing-image",
        "error",
        "annotated, but not there",
        "left out; put back, or take out of the annotations",
    ),
    Kind(
        "size-mismatch",
        "error",
        "of another size than its annotation says",
        "resized or turned since? its boxes are then of somewhere else",
    ),
    Kind("no-number", "error", "with a corner that is no number", "left out; correct", "box"),
    Kind(
        "unknown-category",
        "error",
        "of a category that is not listed",
        "left out; list it or correct",
        "box",
    ),
    Kind("unsized", "error", "in an image of unknown size", "left out; is it an image?", "box"),
    Kind(
        "alike-in-splits",
        "warning",
        "in several splits, nearly the same",
        "saved again or resized? the error is too low",
    ),
    Kind(
        "alike-in-classes",
        "warning",
        "in several classes, nearly the same",
        "saved again or resized? keep the right one",
    ),
    Kind("empty-class", "warning", "without images", "cannot be learnt; fill or remove", "class"),
    Kind("untrained-class", "warning", "without images to train on", "cannot be learnt", "class"),
    Kind(
        "unmeasured-class",
        "warning",
        "without images to measure on",
        "the error says nothing of it",
        "class",
    ),
    Kind("few-images", "warning", "with few images", "more would help", "class"),
    Kind(
        "imbalance",
        "warning",
        "with less than a tenth of the largest one's images",
        "look at each class's error, not at the mean alone",
        "class",
    ),
    Kind(
        "unannotated", "warning", "without an annotation", "left out; annotate or take off the list"
    ),
    Kind("unlisted-image", "warning", "of an image that is not listed", "left out", "box"),
    Kind("degenerate", "warning", "without width or height", "left out; remove", "box"),
    Kind("outside", "warning", "outside of the image", "left out; correct or remove", "box"),
    Kind("clipped", "warning", "partly outside of the image", "cut off at its edge", "box"),
    Kind("thin", "warning", "of a pixel or less", "kept; a slip of the hand?", "box"),
    Kind("doubled", "warning", "there before, with the same class", "each counts", "box"),
    Kind("repeated", "warning", "several times in a split", "each counts as often"),
    Kind(
        "deep", "warning", "of more than 8 bits", "levels above 255 become white; save with 8 bits"
    ),
    Kind(
        "turned",
        "warning",
        "that EXIF would turn",
        "training takes them as stored; save them upright",
    ),
    Kind("tiny", "warning", "with less than 32 pixels a side", "there is little to see in them"),
    Kind("alike", "note", "several times in a split, nearly the same", "saved again or resized?"),
    Kind("small", "note", "smaller than a crop of 224 pixels", "they are enlarged"),
    Kind(
        "long",
        "note",
        "more than 4 times as long as wide",
        "a crop sees a small part; cut them to what matters",
    ),
    Kind("empty-image", "note", "without a box", "all of it is background"),
    Kind("grey", "note", "in grey", "three equal channels are made of one"),
    Kind("alpha", "note", "with transparency", "it is dropped; the colours beneath are kept"),
    Kind("palette", "note", "with a palette", "the colours are looked up"),
    Kind("other-colours", "note", "in CMYK or the like", "made RGB without their colour profile"),
    Kind("moving", "note", "with several pictures or pages", "the first is taken"),
    Kind("wrong-extension", "note", "of another format than the name says", "the content decides"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image stands: its split, its name there, its class; None where it has boxes."""

    split: str
    name: str
    class_name: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        of_class = {} if self.class_name is None else {"class": self.class_name}
        return {"split": self.split, "file": self.name, **of_class}


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a finding: an image, several that are the same, or a class; perhaps why.

    Of a box, the image it is in, and which it is.
    """

    images: tuple[Place, ...] = ()
    class_name: str | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        values: dict[str, Any] = {}
        if self.class_name is not None:
            values["class"] = self.class_name
        if self.images:
            values["images"] = [at.to_dict() for at in self.images]
        return values | ({"why": self.why} if self.why else {})


@dataclass(frozen=True, slots=True)
class Finding:
    """All cases of one kind, in the order of the data set."""

    kind: Kind
    cases: tuple[Case, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, with every case."""
        kind = self.kind
        return {
            "finding": kind.code,
            "severity": kind.severity,
            "count": len(self.cases),
            "of": kind.of,
            "title": kind.title,
            "advice": kind.advice,
            "cases": [case.to_dict() for case in self.cases],
        }


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many images or boxes a class has in each split, and how many of them cannot be used."""

    name: str
    counts: Mapping[str, int]
    unreadable: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Boxes:
    """What a report says besides where images have boxes, which are then what classes count.

    Args:
        images: How many each split has.
        unreadable_images: How many of all splits cannot be used.
        flags: How many boxes have each flag.
        unannotated: The splits for which nobody drew boxes.
    """

    images: Mapping[str, int]
    unreadable_images: int
    flags: Mapping[str, int]
    unannotated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the median (the lower of two) and the greatest of a number of pixels."""

    least: int
    median: int
    greatest: int


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What a data set holds and what is wrong with it; shows as tables.

    Args:
        data: What it is called.
        where: What `--data` takes to open it again.
        digest: Of the data set.
        splits: Their names.
        by_class: Every class, in the order of the labels.
        repeated_images: How many have the same bytes as an earlier one, over all splits.
        sizes: Of what can be read: `width_px`, `height_px`, `shorter_px`; and `box_px`, the side of
            a square as large as a box. Empty without any.
        modes: How many images there are of each of Pillow's modes.
        formats: How many there are of each format; empty for images in memory.
        findings: By severity, then as in `KINDS`.
        refusal: Why it cannot be trained on at all; None where it can.
        boxes: What there is besides where images have boxes.
    """

    data: str
    where: str
    digest: str
    splits: tuple[str, ...]
    by_class: tuple[ClassCount, ...]
    repeated_images: int
    sizes: Mapping[str, Spread]
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    findings: tuple[Finding, ...]
    refusal: str | None
    boxes: Boxes | None = None

    def images(self, split: str) -> int:
        """Return how many images a split has, those that cannot be read among them."""
        return self.counted(split) if self.boxes is None else self.boxes.images[split]

    def counted(self, split: str) -> int:
        """Return how many images with a class, or boxes, a split has."""
        return sum(each.counts[split] for each in self.by_class)

    @property
    def unreadable_images(self) -> int:
        """How many images of all splits cannot be used."""
        if self.boxes is not None:
            return self.boxes.unreadable_images
        return sum(sum(each.unreadable.values()) for each in self.by_class)

    def cases(self, code: str) -> tuple[Case, ...]:
        """Return the cases of a kind of finding; none where it was not found."""
        return next((each.cases for each in self.findings if each.kind.code == code), ())

    def summary(self) -> dict[str, Any]:
        """Return the counts alone, under the keys of `to_dict`."""
        boxes = {f"{split}_boxes": self.counted(split) for split in self.splits}
        return {
            "data": self.data,
            **{f"{split}_images": self.images(split) for split in self.splits},
            **({} if self.boxes is None else boxes),
            "classes": sum(any(each.counts.values()) for each in self.by_class),
            "unreadable_images": self.unreadable_images,
            "repeated_images": self.repeated_images,
            "digest": self.digest,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, under the keys of `resnets data check --json`."""
        of = "images" if self.boxes is None else "boxes"
        about = {}
        if self.boxes is not None:
            about = {"flags": dict(self.boxes.flags), "unannotated": list(self.boxes.unannotated)}
        return {
            **self.summary(),
            "trainable": self.refusal is None,
            "refusal": self.refusal,
            "findings": [each.to_dict() for each in self.findings],
            "by_class": [
                {
                    "class": each.name,
                    **{f"{split}_{of}": each.counts[split] for split in self.splits},
                    f"unreadable_{of}": sum(each.unreadable.values()),
                }
                for each in self.by_class
            ],
            "sizes": {
                side: {"min": of.least, "median": of.median, "max": of.greatest}
                for side, of in self.sizes.items()
            },
            "modes": dict(self.modes),
            "formats": dict(self.formats),
            **about,
        }

    def __str__(self) -> str:
        parts = [[self._title()]]
        for severity, same in itertools.groupby(self.findings, lambda found: found.kind.severity):
            parts.append([])
            for found in same:
                head, cases = self._told(found)
                line = f"{severity:{_INDENT}}{head}"
                parts[-1] += textwrap.wrap(line, _WIDTH, subsequent_indent=" " * _INDENT)
                parts[-1] += [" " * (_INDENT + 2) + case for case in cases]
        title, rows = self._classes()
        parts += [[title, *_aligned(rows)], list(self._measures()), [self.next_step()]]
        return "\n\n".join("\n".join(part) for part in parts if part)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [["", "found", "where"]]
        for found in self.findings:
            head, cases = self._told(found)
            rows.append([found.kind.severity, head, "\n".join(cases)])
        title, classes = self._classes()
        parts = [_paragraph(self._title())]
        if self.findings:
            parts.append(_table(rows))
        parts += [_paragraph(title), _table(classes)]
        parts += [_paragraph(line) for line in (*self._measures(), self.next_step())]
        return "".join(parts)

    def next_step(self) -> str:
        """Say whether it can be trained on and what to do before."""
        severities = {found.kind.severity for found in self.findings}
        where = shlex.quote(self.where)
        every = f"every name: resnets data check {where} --json"
        if self.refusal is not None:
            return f"It cannot be trained on: {self.refusal}; {every}"
        if "error" in severities:
            return f"It can be trained on; correct the errors first; {every}"
        if "warning" in severities:
            return f"It can be trained on; look at the warnings first; {every}"
        return f"Nothing is wrong with it; next: resnets train --data {where}"

    def _title(self) -> str:
        total = sum(map(self.images, self.splits))
        bare = () if self.boxes is None else self.boxes.unannotated
        each = ", ".join(
            f"{self.images(split):,} {split}{' without annotations' * (split in bare)}"
            for split in self.splits
        )
        bad = self.unreadable_images
        has = f"({each})"
        if self.boxes is not None:
            has += f" with {_count(sum(map(self.counted, self.splits)), 'box')}"
        text = f"{self.data}: {_count(total, 'image')} {has} in {self._class_count()}"
        return text + (f"; {bad:,} cannot be read" if bad else "")

    def _class_count(self) -> str:
        filled = self.summary()["classes"]
        listed = len(self.by_class)
        return (f"{filled:,} of " if filled < listed else "") + _count(listed, "class")

    def _told(self, found: Finding) -> tuple[str, list[str]]:
        """Return a finding's line, and those of its first cases."""
        kind = found.kind
        head = f"{_count(len(found.cases), kind.of)} {kind.title}: {kind.advice}"
        lines = [self._case(case) for case in found.cases[:_CASES]]
        more = len(found.cases) - _CASES
        return head, lines + ([f"and {more:,} more"] if more > 0 else [])

    def _case(self, case: Case) -> str:
        if case.class_name is not None:
            where = f" ({', '.join(map(self._place, case.images))})" if case.images else ""
            return _printable(case.class_name) + (f": {case.why}" if case.why else "") + where
        # One of each split and class first: that they differ is what the case is about.
        differing = {(at.split, at.class_name): at for at in reversed(case.images)}
        ranked = sorted(case.images, key=lambda at: at not in differing.values())
        names = [self._place(at) for at in ranked[:_IMAGES]]
        more = len(case.images) - _IMAGES
        names += [f"{more:,} more"] if more > 0 else []
        return " = ".join(names) + (f": {_printable(case.why)}" if case.why else "")

    def _place(self, at: Place) -> str:
        name = _printable(at.name)
        return f"{at.split}: {name}" if len(self.splits) > 1 else name

    def _classes(self) -> tuple[str, list[list[str]]]:
        """Return the table of classes, and what it shows of them."""
        shown: Sequence[ClassCount] = self.by_class
        title = what = "images by class" if self.boxes is None else "boxes by class"
        if len(shown) > _CLASSES:
            filled = [each for each in shown if any(each.counts.values())]
            ranked = sorted(filled, key=lambda each: sum(each.counts.values()))
            shown = ranked if len(ranked) <= 2 * _ENDS else ranked[:_ENDS] + ranked[-_ENDS:]
            title = f"{what}, of {len(self.by_class):,} the smallest and the largest"
        header = ["class", *self.splits, "cannot be read"]
        rows = [
            [
                _printable(each.name),
                *(f"{each.counts[split]:,}" for split in self.splits),
                f"{sum(each.unreadable.values()):,}",
            ]
            for each in shown
        ]
        return title, [header, *rows]

    def _measures(self) -> Iterator[str]:
        for side, of in self.sizes.items():
            text = f"{of.least:,} to {of.greatest:,} px, median {of.median:,}"
            one = f"{of.least:,} px"
            name = side.removesuffix("_px")
            yield f"{name:8} {one if of.least == of.greatest else text}"
        flags = {} if self.boxes is None else self.boxes.flags
        for name, counts in (("modes", self.modes), ("formats", self.formats), ("flags", flags)):
            if counts:
                yield f"{name:8} " + ", ".join(f"{key} {n:,}" for key, n in counts.items())


def _count(number: int, noun: str) -> str:
    plural = {"image": "images", "class": "classes", "box": "boxes"}
    return f"{number:,} {noun if number == 1 else plural[noun]}"


def _printable(name: str) -> str:
    """Return a name with escapes for what would break a line, or that no terminal can show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align a table with one column of text and further ones of numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    body = ""
    for tag, row in zip(["th", *["td"] * (len(rows) - 1)], rows, strict=True):
        cells = (html.escape(cell).replace("\n", "<br>") for cell in row)
        body += "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"
    return f"<table>{body}</table>"

"""The 1000 classes of ILSVRC 2012 in the order of their WordNet ids, which is the labels' order.

The devkit numbers the classes differently, from 1 to 1000: its list of validation labels holds
those numbers, and nothing else does.

Source: Russakovsky et al. 2015, https://www.image-net.org/challenges/LSVRC/2012/
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

FILE: Final = "imagenet-classes.tsv"
CLASSES: Final = 1000
_AGREED: Final = 980  # classes, by which a list of other names for some is known


@cache
def names() -> tuple[str, ...]:
    """Return what the classes are called: the first word WordNet has for each, made unique.

    Where two classes share it, all words; where they share all of them, the id stands behind.
    """
    first = Counter(words.split(", ")[0] for _, _, words in _rows())
    whole = Counter(words for _, _, words in _rows())
    return tuple(
        words.split(", ")[0]
        if first[words.split(", ")[0]] == 1
        else words
        if whole[words] == 1
        else f"{words} ({wnid})"
        for wnid, _, words in _rows()
    )


@cache
def wnids() -> tuple[str, ...]:
    """Return the WordNet ids, "n01440764" to "n15075141", in the order of the labels."""
    return tuple(wnid for wnid, _, _ in _rows())


@cache
def index_by_wnid() -> Mapping[str, int]:
    """Return the label, 0 to 999, of each WordNet id."""
    return MappingProxyType({wnid: index for index, (wnid, _, _) in enumerate(_rows())})


@cache
def index_by_devkit_id() -> Mapping[int, int]:
    """Return the label, 0 to 999, of each number in the devkit, 1 to 1000."""
    return MappingProxyType({devkit_id: index for index, (_, devkit_id, _) in enumerate(_rows())})


def are(listed: Sequence[str]) -> bool:
    """Tell whether a list of names is that of the classes, in the labels' order.

    Lists in use begin with the same word for a class, and differ where two classes share it: of
    the thousand nearly all have to agree. WordNet ids do too.
    """
    if len(listed) != CLASSES:
        return False
    own = ({wnid, words.split(", ")[0].lower()} for wnid, _, words in _rows())
    agreed = sum(name.split(",")[0].lower() in each for name, each in zip(listed, own, strict=True))
    return agreed >= _AGREED


@cache
def _rows() -> tuple[tuple[str, int, str], ...]:
    """Read the table: WordNet id, number in the devkit, words."""
    text = resources.files("resnets.data").joinpath(FILE).read_text(encoding="ascii")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return tuple((wnid, int(devkit_id), words) for wnid, devkit_id, words in rows)

"""The little of YAML that data.yaml of a YOLO data set is written in.

That is keys at the beginning of a line with a word, a text in quotes, a list or a mapping of these
after it: in brackets, or a line each. Anything else is refused where it is asked for, and skipped
under other keys. Nothing here can run or read anything.
"""

import itertools
import re
from collections.abc import Collection, Iterator
from typing import Final

from resnets.core.errors import DataError

# A text, texts by number, or nothing.
Value = str | list[str] | dict[str, str] | None

_KEY: Final = re.compile(r"([A-Za-z_][\w-]*)[ ]*:(?:[ ]+(.*))?")
_SPECIAL: Final = "&*!|>%@`,?#"  # what YAML gives a meaning at the beginning of a value
_PAIRS: Final = {"[": "]", "{": "}"}


def read(text: str, wanted: Collection[str], where: str) -> dict[str, Value]:
    """Return the values of some keys; those that are not there are missing.

    Args:
        text: The file's.
        wanted: Keys.
        where: What a message begins with.

    Raises:
        DataError: A value is written in another way, or a key is there twice.
    """
    found: dict[str, Value] = {}
    for line, key, head, rest in _blocks(text, where):
        if key in wanted:
            at = f"{where}: line {line}: {key}"
            if key in found:
                raise DataError(f"{at}: is there twice; leave one")
            found[key] = _value(_bare(head), [bare for each in rest if (bare := _bare(each))], at)
    return found


def _blocks(text: str, where: str) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield line number, key, what follows it there, and the lines that belong to it."""
    block: tuple[int, str, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#") or (number == 1 and line == "---"):
            continue
        match = _KEY.fullmatch(line.rstrip())
        if match:
            if block is not None:
                yield block
            block = (number, match[1], match[2] or "", [])
        elif block is None or line[0] not in " \t-]}":
            raise DataError(f"{where}: line {number}: expected a key, as in `names:`")
        else:
            block[3].append(line)
    if block is not None:
        yield block


def _value(head: str, rest: list[str], at: str) -> Value:
    if head[:1] in ("[", "{"):
        return _in_brackets(" ".join([head, *map(str.strip, rest)]), at)
    if head and rest:
        raise DataError(f"{at}: goes on over several lines; write it in one")
    if head or not rest:
        return _word(head, at)
    if len({len(line) - len(line.lstrip()) for line in rest}) > 1:
        raise DataError(f"{at}: lists within lists; write one item a line")
    items = [line.strip() for line in rest]
    if all(item.startswith("- ") for item in items):
        return [_word(item[2:].strip(), at) or "" for item in items]
    return _mapping(items, at)


def _in_brackets(text: str, at: str) -> Value:
    end = _PAIRS[text[0]]
    if not text.endswith(end):
        raise DataError(f"{at}: begins with {text[0]} and does not end with {end}")
    items = _items(text[1:-1])
    if items and not items[-1]:  # a comma may follow the last
        items.pop()
    if end == "}":
        return _mapping(items, at)
    return [_word(item, at) or "" for item in items]


def _items(text: str) -> list[str]:
    """Return what is between commas outside of quotes."""
    starts = [0, *(at + 1 for at, char in _unquoted(text) if char == ","), len(text) + 1]
    return [text[a : b - 1].strip() for a, b in itertools.pairwise(starts)]


def _mapping(items: list[str], at: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in items:
        key, colon, value = item.partition(":")
        name = _word(key.strip(), at)
        if not colon or name is None or name in found:
            raise DataError(f"{at}: expected a number and a name, as in `0: cat`: {item[:40]!r}")
        found[name] = _word(value.strip(), at) or ""
    return found


def _word(text: str, at: str) -> str | None:
    """Return what a value without a list says; None where it says nothing."""
    if text in ("", "~", "null"):
        return None
    quote = text[0]
    if quote in "'\"":
        inside = text[1:-1].replace("''", "") if quote == "'" else text[1:-1]
        if len(text) < 2 or text[-1] != quote or quote in inside or (quote == '"' and "\\" in text):
            raise DataError(f"{at}: quotes that are not understood: {text[:40]!r}; leave them out")
        return text[1:-1].replace("''", "'") if quote == "'" else text[1:-1]
    if quote in _SPECIAL or any(each in text for each in (": ", "[", "]", "{", "}")):
        raise DataError(f"{at}: not understood: {text[:40]!r}; put it in quotes")
    return text


def _bare(line: str) -> str:
    """Return a line without its comment and what is blank at its end."""
    for at, char in _unquoted(line):
        if char == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].rstrip()
    return line.rstrip()


def _unquoted(text: str) -> Iterator[tuple[int, str]]:
    """Yield the characters outside of quotes; one within a word, as in don't, is no quote."""
    quote, before = "", ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and before in ("", "[", "{", ",", ":", "-"):
            quote = char
        else:
            yield at, char
        before = before if char.isspace() else char

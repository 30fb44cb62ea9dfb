"""Training on a set in which some files cannot be read: others stand in, up to a limit.

Which image stands in is a function of the files alone: for image i it is the first of i + 1, i + 2
and so on, round the end, that can be read. So neither the order in which threads meet bad files nor
where a run was resumed changes a batch.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from resnets.core.errors import DataError
from resnets.core.processes import Team

T = TypeVar("T")

_ALWAYS: Final = 10  # images that may be bad in the smallest set
_PERCENT: Final = 1
_SHOWN: Final = 3  # in a message
_LISTED: Final = 10  # in a report


class Files(Protocol):
    """A training set of files, as `ImageFiles` is one."""

    @property
    def names(self) -> Sequence[str]:
        """What each file is called."""

    @property
    def read(self) -> Callable[[int], bytes]:
        """Returns the bytes of a file by its index; raises DataError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """What was set aside so far; `str` says it in a line.

    Args:
        images: How many.
        of: How many the training set has.
        first: Of the first ones by their index: the name and what was wrong.
    """

    images: int
    of: int
    first: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "set_aside_images": self.images,
            "training_images": self.of,
            "first": [{"file": name, "why": why} for name, why in self.first],
        }

    def __str__(self) -> str:
        return f"{self.images:,} of {self.of:,} training images cannot be read" + (
            f" ({_some([why for _, why in self.first], self.images)})" if self.first else ""
        )


class SettingAside:
    """Reads a training set, and keeps count of what cannot be read. For use from any thread.

    Args:
        files: The training set.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self._wrong: dict[int, str] = {}
        self._shared: set[int] = set()
        self._refusal: str | None = None
        self._most = tolerated(len(files.names))
        self._lock = threading.Lock()

    def readable(
        self, index: int, decode: Callable[[bytes, str], T]
    ) -> tuple[T, int, dict[int, str]]:
        """Return an image decoded, or the first after it that can be; and the index of which.

        Nothing is remembered of which files are bad, so the answer depends on the files and
        `decode` alone. The label is that of the index returned. What had to be passed over, and
        why, comes third: it is not counted yet, for what is read ahead may never be used.

        Args:
            index: Of the image that is wanted.
            decode: Makes what is wanted of a file's bytes and name; raises DataError of a bad one.

        Raises:
            DataError: More images are bad than `tolerated`, or there is no other.
        """
        images = len(self.files.names)
        wrong: dict[int, str] = {}
        for candidate in (*range(index, images), *range(index)):
            try:
                return self._decoded(candidate, decode), candidate, wrong
            except DataError as err:
                wrong[candidate] = str(err)
            if self._refusal is not None:  # said already; no thread looks on, file after file
                raise DataError(self._refusal)
            self._check(wrong)
        raise DataError(f"none of {images:,} training images can be read; {self._said(wrong)}")

    def attempt(self, index: int, decode: Callable[[bytes, str], T]) -> T | None:
        """Return an image decoded; None where it is set aside, as for what skips bad ones.

        Raises:
            DataError: More images are bad than `tolerated`.
        """
        try:
            return self._decoded(index, decode)
        except DataError as err:
            self.count({index: str(err)})
            return None

    def count(self, wrong: Mapping[int, str]) -> None:
        """Count images as set aside, now that others are used in their place.

        Args:
            wrong: Their indices, and what is wrong with each, as `readable` gives them.

        Raises:
            DataError: More images are bad than `tolerated`.
        """
        with self._lock:
            for index, why in wrong.items():
                if len(self._wrong) <= self._most:  # one too many says enough
                    self._wrong.setdefault(index, why)
                self._check(self._wrong)

    def share(self, team: Team) -> None:
        """Count in every process of a team what any of them has set aside. Called by all.

        Raises:
            DataError: More images are bad than `tolerated`; all raise it.
        """
        new = [(index, why) for index, why in self.found().items() if index not in self._shared]
        if team.size == 1 or team.sum_integers([len(new)]) == [0]:
            return
        told: dict[int, str] = {}
        for each in team.gather_values(new):
            told = {**dict(each), **told}
        with self._lock:
            self._wrong |= told
            self._shared.update(told)
            try:
                self._check(self._wrong)
            except DataError as err:
                err.everywhere = True
                raise

    def found(self) -> dict[int, str]:
        """Return the indices of what was set aside until now, and what was wrong with each."""
        with self._lock:
            return dict(sorted(self._wrong.items()))

    def restore(self, found: Mapping[int, str]) -> None:
        """Count what earlier processes set aside too, as `found` gave it; the same in all now."""
        with self._lock:
            self._wrong = {**found, **self._wrong}
            self._shared.update(found)

    def report(self) -> SetAside:
        """Return what was set aside until now."""
        return self._report(self.found())

    def _decoded(self, index: int, decode: Callable[[bytes, str], T]) -> T:
        return decode(self.files.read(index), self.files.names[index])

    def _check(self, wrong: Mapping[int, str]) -> None:
        if len(wrong) > self._most:
            self._refusal = f"{self._said(wrong)}; training puts up with {self._most:,}"
            raise DataError(self._refusal)

    def _said(self, wrong: Mapping[int, str]) -> str:
        told = self._report(wrong)
        return f"{told}; put good ones in their place (`resnets data check` names all)"

    def _report(self, wrong: Mapping[int, str]) -> SetAside:
        first = [(self.files.names[index], why) for index, why in sorted(wrong.items())[:_LISTED]]
        return SetAside(len(wrong), len(self.files.names), tuple(first))


def tolerated(images: int) -> int:
    """Return how many images of a training set may be bad: 1 %, but always 10.

    Args:
        images: How many it has.
    """
    return max(_ALWAYS, images * _PERCENT // 100)


def _some(lines: Sequence[str], count: int) -> str:
    more = count - _SHOWN
    return "; ".join(lines[:_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")

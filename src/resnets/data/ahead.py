"""Shares of batches that are read while another one is computed with."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from resnets.core.division import Share

T = TypeVar("T")

_SHARES: Final = 3


class Ahead(Generic[T]):
    """Begins to read what will be asked for next, and gives up what no longer will be.

    Args:
        shares: What will be asked for of every batch, in this order.
        begin: Begins to read a share of a batch, by the batch's number, and returns at once.
        give_up: Begins nothing more of what was begun.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        begin: Callable[[int, Share], T],
        give_up: Callable[[T], None],
    ) -> None:
        self._shares = shares
        self._begin, self._give_up = begin, give_up
        self._begun: dict[tuple[int, Share], T] = {}

    def take(self, number: int, share: Share) -> T:
        """Return what was begun of a share of batch `number`, the next ones being begun too."""
        wanted = self._coming(number, share)
        for left in set(self._begun).difference(wanted):
            self._give_up(self._begun.pop(left))
        for each in wanted:
            if each not in self._begun:
                self._begun[each] = self._begin(*each)
        return self._begun.pop((number, share))

    @property
    def begun(self) -> Iterable[T]:
        """What was begun and not taken yet."""
        return self._begun.values()

    def _coming(self, number: int, share: Share) -> list[tuple[int, Share]]:
        """Return what is asked for now and what will be next."""
        shares = list(self._shares) if share in self._shares else [share]
        first = shares.index(share)
        places = range(first, first + 1 + _SHARES)
        return [(number + at // len(shares), shares[at % len(shares)]) for at in places]

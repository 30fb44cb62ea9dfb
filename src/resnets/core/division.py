"""How a batch is divided: into parts, which decide the numbers, and among processes, which do not.

BN takes its statistics over the images of one part. A process computes some of the parts, one after
the other; or, where there are more processes than parts, some of them compute one part together.
"""

from dataclasses import dataclass
from typing import Final

from resnets.core.errors import RecipeError, RunError
from resnets.core.processes import ALONE, Team


@dataclass(frozen=True, slots=True)
class Share:
    """The images of a batch that are computed together in one process.

    Args:
        part: The part they belong to, from 0.
        parts: How many parts the batch has.
        slice: Which slice of the batch they are, from 0, all slices being equal.
        slices: How many slices there are: a multiple of `parts`.
    """

    part: int
    parts: int
    slice: int
    slices: int

    def within(self, batch_images: int) -> range:
        """Return the places of its images in a batch."""
        images = batch_images // self.slices
        return range(self.slice * images, (self.slice + 1) * images)

    def before(self, batch_images: int) -> int:
        """Return the place of the image before its first one in the part, whose first has the last.

        With it a share can be mixed as its whole part would be, each image with the one before it.
        """
        images = batch_images // self.parts
        first = self.within(batch_images).start - self.part * images
        return self.part * images + (first - 1) % images


WHOLE: Final = Share(part=0, parts=1, slice=0, slices=1)


@dataclass(frozen=True, slots=True)
class Division:
    """Who computes what of every batch, as one process sees it.

    Args:
        shares: What this process computes, in this order.
        team: All processes.
        sharing: Those that compute a part together; this one alone where parts are not shared.
    """

    shares: tuple[Share, ...] = (WHOLE,)
    team: Team = ALONE
    sharing: Team = ALONE

    @property
    def slices(self) -> int:
        """Into how many equal slices all processes together cut a batch."""
        return self.shares[0].slices


UNDIVIDED: Final = Division()


def divide(batch_images: int, part_images: int | None, team: Team) -> Division:
    """Return how a team divides batches.

    Args:
        batch_images: In a batch.
        part_images: In a part; None, or more than a batch has, is the whole batch.
        team: Who computes.

    Raises:
        RecipeError: The parts of a batch would not be equal.
        RunError: The processes cannot share a batch evenly.
    """
    part_images = min(part_images or batch_images, batch_images)
    if batch_images % part_images:
        raise RecipeError(
            f"part_images: must divide the {batch_images:,} images of a batch, got {part_images}"
        )
    parts = batch_images // part_images
    if team.size not in _sizes(batch_images, parts, most=team.size):
        raise RunError(_uneven(batch_images, parts, team.size))
    if parts % team.size == 0:
        each = parts // team.size
        own = range(team.rank * each, (team.rank + 1) * each)
        return Division(tuple(Share(part, parts, part, parts) for part in own), team)
    together = team.size // parts
    share = Share(team.rank // together, parts, team.rank, team.size)
    return Division((share,), team, team.divided(together))


def _sizes(batch_images: int, parts: int, *, most: int) -> list[int]:
    """Return how many processes can divide such batches evenly."""
    return [
        size
        for size in range(1, most + 1)
        if parts % size == 0 or (size % parts == 0 and batch_images % size == 0)
    ]


def _uneven(batch_images: int, parts: int, size: int) -> str:
    below = ", ".join(map(str, _sizes(batch_images, parts, most=size)))
    more = [n for n in _sizes(batch_images, parts, most=batch_images) if n > size]
    above = f" or {more[0]}" if more else ""
    batch = f"a batch of {batch_images:,} images"
    whole = batch if parts == 1 else f"{batch} in {parts} parts of {batch_images // parts}"
    return f"{size} processes cannot share {whole} evenly; start {below}{above} of them"

"""Progress of long work: a bar on a terminal, elsewhere a line now and then, always on stderr."""

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

_LINE_EVERY_S = 15.0


class Bar(Protocol):
    """What long work reports to."""

    def advance(self, amount: int, note: str = "") -> None:
        """Count `amount` more done; `note` replaces what stands beside the bar."""

    def say(self, line: str) -> None:
        """Print a line of its own, above the bar."""


class Silent:
    """A bar that shows nothing, where another shows the same work."""

    def advance(self, amount: int, note: str = "") -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""


@contextlib.contextmanager
def reporting(
    what: str, *, total: int, unit: str, done: int = 0, shown: bool = True
) -> Iterator[Bar]:
    """Yield a bar for `total` units of work, of which `done` were done before.

    Args:
        what: A few words for the left side, e.g. "training".
        total: In `unit`s.
        unit: Plural noun: "images", "bytes".
        done: Already done; left out of the rate.
        shown: Whether at all; of several processes that work together, one shows it.
    """
    if not shown:
        yield Silent()
        return
    made = _TerminalBar if sys.stderr.isatty() else _LineBar
    with made(what, total, unit, done) as bar:
        yield bar


def duration(seconds: float) -> str:
    """Return a time as people say it: "8 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def per_second(rate: float) -> str:
    """Return a rate, a slow one in two digits: "1,200", "2.5", "0.04"."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


class _LineBar:
    """One line every fifteen seconds, for logs."""

    def __init__(self, what: str, total: int, unit: str, done: int) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.first = self.done = done
        self.started = self.printed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        pass

    def advance(self, amount: int, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.printed < _LINE_EVERY_S:
            return
        self.printed = now
        rate = (self.done - self.first) / (now - self.started)
        left = duration(max(0, self.total - self.done) / rate) if rate else "unknown time"
        beside = f"; {note}" if note else ""
        self.say(
            f"{self.what}: {self.done:,} of {self.total:,} {self.unit}, "
            f"{per_second(rate)} a second, {left} left{beside}"
        )

    def say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _TerminalBar:
    """A bar with rate and time left."""

    def __init__(self, what: str, total: int, unit: str, done: int) -> None:
        # Imported here: only a terminal needs it, and it costs a tenth of a second.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
        )
        self.unit = unit
        self.first, self.done = done, done
        self.started = time.monotonic()
        self.task = self.bar.add_task(what, total=total, completed=done, note="", rate="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, amount: int, note: str = "") -> None:
        self.done += amount
        rate = (self.done - self.first) / max(1e-9, time.monotonic() - self.started)
        fields = {"rate": f"{per_second(rate)} {self.unit}/s"} | ({"note": note} if note else {})
        self.bar.update(self.task, advance=amount, **fields)  # type: ignore[arg-type]

    def say(self, line: str) -> None:
        self.bar.console.print(line, highlight=False, markup=False)

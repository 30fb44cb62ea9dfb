"""Every exception this package raises on purpose, and what the command exits with.

A message is one line: what was wrong, what is accepted, what to do next.
"""

import difflib
from collections.abc import Collection


class ResNetsError(Exception):
    """Base class: catch this to catch everything the package raises on purpose.

    `exit_status` is the command's: 2 where the request was wrong, 1 where the work failed.
    `everywhere` tells that all processes that work together raise it, so one says it for all.
    """

    exit_status = 2
    everywhere = False


class RecipeError(ResNetsError):
    """A recipe or an override is not valid. The message names the field and what it accepts."""


class ModelError(ResNetsError):
    """No network has that name or shape."""


class DataError(ResNetsError):
    """A data set is missing, damaged, or not what it should be."""


class ImageError(DataError):
    """A file is not an image that can be decoded."""


class CheckpointError(ResNetsError):
    """A checkpoint is missing, truncated, foreign, or made by an incompatible version."""


class NewerFormatError(CheckpointError):
    """A checkpoint was made by a newer version: it is good, and must not be passed over."""


class RunError(ResNetsError):
    """A run's folder cannot be used for what was asked."""


class BusyError(RunError):
    """Another process or thread is at work in a run's folder."""


class StorageError(ResNetsError):
    """A file could not be written: no space, no permission, no folder."""


class FetchError(ResNetsError):
    """Data could not be fetched; nothing was left half-written."""

    exit_status = 1


class InterruptedRunError(ResNetsError):
    """Ctrl-C or SIGTERM: the run was saved and left. The status is the shell's, 128 + signal."""

    everywhere = True

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class LostProcessError(ResNetsError):
    """Another of the processes that train together has ended."""

    exit_status = 1


class DivergedError(ResNetsError):
    """Training met a loss that is not finite."""

    exit_status = 1
    everywhere = True


def unknown(what: str, name: str, known: Collection[str], listing: str) -> str:
    """Return the one-line message for a name that does not exist.

    Args:
        what: What kind of thing was named, e.g. "recipe".
        name: The name as the user wrote it.
        known: The names that exist.
        listing: The command that lists them.
    """
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{what} {name!r}: there is none of that name; {hint}`{listing}` lists them"

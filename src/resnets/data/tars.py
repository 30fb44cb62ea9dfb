"""Members of tars, read where they lie: headers are read once, a member when it is asked for."""

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from torch import Tensor

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, StorageError
from resnets.data import fetch, files

# Names of tars that are compressed, and what such files begin with.
_COMPRESSED: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MAGIC: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_BLOCK_BYTES: Final = 512


class Parts:
    """Reads parts of files by their number, from any thread or process.

    A file is opened for each part, which takes microseconds: a thousand shards, kept open, would
    be more than a process may have.

    Args:
        paths: The files.
        file_n: int64, shape (n,): which file each part is in.
        start_n: int64, shape (n,): at which byte it begins.
        bytes_n: int64, shape (n,): how long it is.
    """

    def __init__(
        self, paths: Sequence[Path], file_n: np.ndarray, start_n: np.ndarray, bytes_n: np.ndarray
    ) -> None:
        self.paths, self.file_n, self.start_n, self.bytes_n = paths, file_n, start_n, bytes_n
        self.states = [files.state(path) for path in paths]

    def __call__(self, index: int) -> bytes:
        number = int(self.file_n[index])
        path, wanted = self.paths[number], int(self.bytes_n[index])
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(int(self.start_n[index]))
                content = file.read(wanted)
            changed = files.state(path) != self.states[number]
        except OSError as err:
            raise DataError(f"{path}: cannot be read ({err.strerror})") from err
        if changed or len(content) != wanted:
            raise DataError(f"{path}: has changed since it was opened; run the same command again")
        return content


def members(
    path: Path, file: BinaryIO, start: int, end: int | None = None
) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar that begins at `start` of a file, reading headers alone.

    Args:
        path: What the file is called, for messages.
        file: Open for reading, best without a buffer. It may be read from between two members.
        start: Of the tar, in bytes.
        end: Where a tar inside another ends; None where the file's own end is the tar's.

    Raises:
        DataError: It is no tar, cut off, or compressed.
    """
    damaged = f"{path}: not a whole tar (cut off at byte "
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if end is not None and member.offset >= end:
                    return
                if member.size < 0:  # it would lead back, and round and round
                    raise tarfile.ReadError("a size below zero")
                if member.isreg():
                    yield member
            at = tar.offset
    # Beside its own errors tarfile meets numbers that are none, or that no file can be as long as.
    except (tarfile.TarError, ValueError, OverflowError) as err:
        broken = file.tell()
        _refuse_compressed(path, file, start)
        raise DataError(f"{damaged}{broken:,}: {err}); fetch it again") from err
    # An archive ends with blocks of zeros; one cut between two members only lacks these.
    file.seek(at)
    if file.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
        raise DataError(f"{damaged}{at:,}); fetch it again")


def is_compressed(path: Path) -> bool:
    """Tell a compressed tar by its name."""
    return path.name.lower().endswith(_COMPRESSED)


def compressed(path: Path) -> DataError:
    """Return what to say of a compressed tar."""
    return DataError(
        f"{path}: a compressed tar, and nothing inside can be read without unpacking all before "
        "it; decompress it to a plain .tar first (gzip -d, for one)"
    )


def load_index(kept: Path) -> dict[str, Tensor] | None:
    """Return the index that `keep_index` wrote; None where there is none, or it is damaged."""
    try:
        tensors, _ = artifacts.load_tensors(kept)
    except (CheckpointError, StorageError):
        return None
    return tensors


def keep_index(kept: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write an index to the cache; where that cannot be written, the next one waits too."""
    with contextlib.suppress(OSError, StorageError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        artifacts.save_tensors(kept, tensors, {"kind": "index", "name": kept.name})


def index_file(kind: str, paths: Sequence[Path]) -> Path:
    """Return where the index of these files is kept; another place when one of them changes."""
    states = "\0".join(
        f"{path.resolve()}\0{size}\0{changed_ns}"
        for path in paths
        for size, changed_ns in (files.state(path),)
    )
    key = hashlib.sha256(states.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return fetch.cache_folder() / f"{kind}-{key}.safetensors"


def _refuse_compressed(path: Path, file: BinaryIO, start: int) -> None:
    file.seek(start)
    if file.read(8).startswith(_MAGIC):
        raise compressed(path)

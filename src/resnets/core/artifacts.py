"""Files that survive: written whole or not at all, checked when read, never able to run code.

A tensor file is safetensors with one JSON text, `about`, in its header, and in that one SHA-256
over all the rest of it and every tensor. `about` is what makes the file self-sufficient (recipe,
classes, preprocessing, provenance); the hash is what tells a damaged file from a good one.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as encode_safetensors
from torch import Tensor

from resnets.core.errors import BusyError, CheckpointError, NewerFormatError, StorageError

LOCK = ".lock"  # the file in a folder that `alone` locks
AGAIN = "run the same command again"  # what to do once a disk has room
FORMAT = 1  # of `about`; a reader refuses a newer one


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all, and on the disk before returning.

    Raises:
        StorageError: It could not be written; what stood at `path` before still does.
    """
    partial = path.with_name(f".{path.name}.partial")  # one writer a folder; a kill leaves one
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Put a JSON text for people to read at `path`, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write at `path` into one clear line."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "no space left on the disk; make room"
        else:
            what = f"{err.strerror or err}; choose a folder that can be written"
        raise StorageError(f"cannot write {path}: {what}, then {AGAIN}") from err


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool) -> Iterator[None]:
    """Be the only process and thread that works in a folder, which is made where it is missing.

    The lock is the system's: it goes with the process that held it, however that ends.

    Args:
        folder: Whose.
        wait: Whether to wait for another that works there.

    Raises:
        StorageError: The folder cannot be written.
        BusyError: Another works there, and `wait` is false.
    """
    lock = FileLock(folder / LOCK, timeout=-1 if wait else 0)
    try:
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as err:
                raise BusyError(f"{folder}: another process is at work here; wait for it") from err
        yield
    finally:
        lock.release()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and what there is to say about them as one file.

    Args:
        path: Where; conventionally ends in `.safetensors`.
        tensors: By name, on any device, in any memory format.
        about: JSON values.

    Raises:
        StorageError: It could not be written; what stood at `path` before still does.
    """
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    described = {**about, "format": FORMAT}
    text = json.dumps({**described, "sha256": _digest(plain, described)}, sort_keys=True)
    # One key: safetensors writes several in another order each time.
    write_bytes(path, encode_safetensors(plain, metadata={"about": text}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`, on the CPU.

    Raises:
        CheckpointError: It is missing, damaged, foreign or (`NewerFormatError`) too new.
        StorageError: It may not be read.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            # Copies: the file is mapped, and must not change a network after it was checked.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as err:
        raise CheckpointError(f"{path}: there is no such file") from err
    except PermissionError as err:
        raise StorageError(f"{path}: may not be read; check its permissions") from err
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, OverflowError) as err:
        raise CheckpointError(
            f"{path}: not a checkpoint of resnets, or cut short ({_one_line(err)})"
        ) from err
    about = _about(path, header)
    if about.pop("sha256", None) != _digest(tensors, about):
        raise CheckpointError(f"{path}: damaged: its content does not match its checksum")
    return tensors, about


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: It is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise CheckpointError(f"{path}: there is no such file") from err
    except (ValueError, OSError, RecursionError) as err:
        raise CheckpointError(f"{path}: not readable as JSON ({_one_line(err)})") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def sha256_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over the tensors' bytes in name order, as 64 hex digits."""
    made = hashlib.sha256()
    for name in sorted(tensors):
        made.update(_bytes_of(tensors[name]))
    return made.hexdigest()


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object to a journal; `sync` then puts it on the disk.

    Raises:
        StorageError: It could not be written.
    """
    with storing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def sync(path: Path) -> None:
    """Put a file on the disk as it stands.

    Raises:
        StorageError: It could not be written.
    """
    with storing(path), path.open("ab") as file:
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a journal; a last line that a kill cut short, and only that, is left out.

    Raises:
        CheckpointError: Another line is not a JSON object, or the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read ({_one_line(err)})") from err
    lines = content.splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as err:
            if number == len(lines) and not content.endswith(b"\n"):
                break
            raise CheckpointError(f"{path}: line {number} is not JSON") from err
        if not isinstance(record, dict):
            raise CheckpointError(f"{path}: line {number} is not a JSON object")
        records.append(record)
    return records


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a journal, whole or not at all."""
    write_bytes(path, "".join(json.dumps(record) + "\n" for record in records).encode())


def _about(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """Return the description in a header, if it is one this version understands."""
    try:
        about = json.loads(header["about"])
        written = about["format"]
        newer = type(written) is int and written > FORMAT
        known = written == FORMAT
    except (KeyError, TypeError, ValueError, RecursionError) as err:
        raise CheckpointError(
            f"{path}: a safetensors file that resnets did not write; it has no description inside"
        ) from err
    if newer:
        raise NewerFormatError(
            f"{path}: written by a newer resnets (format {written}, this one reads up to "
            f"{FORMAT}); upgrade resnets"
        )
    if not known:
        raise CheckpointError(f"{path}: damaged: it names no format")
    return dict(about)


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    made = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        made.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        made.update(_bytes_of(tensor))
    return made.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().data


def _sync_folder(folder: Path) -> None:
    """Put a rename on the disk; where folders cannot be opened (Windows) there is no such call."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as err:  # some network and user-space file systems do not know the call
        if err.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:120]

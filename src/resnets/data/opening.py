"""From what `--data` says to a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from resnets.core import errors
from resnets.core.errors import DataError
from resnets.data import (
    cifar,
    coco,
    fetch,
    folders,
    ilsvrc,
    imagenet,
    labels,
    packs,
    parquet,
    pasted,
    sample,
    shards,
    synthetic,
    tars,
    voc,
    yolo,
)
from resnets.data.annotated import DetectionData
from resnets.data.files import FileData
from resnets.data.sets import DataSet

# Name -> what it is, for `resnets data list`.
NAMES: Final = {
    "cifar10-sample": "500 training and 100 test images a class of CIFAR-10, built in",
    "cifar10": "all of CIFAR-10, 50,000 and 10,000 images; fetched once, 170 MB",
    pasted.NAME: "1,500 scenes of the sample's pictures with boxes, for detection, built in",
    "synthetic": "256 and 64 made-up images in 4 classes, for trying things out",
}


Labelled = DataSet | FileData  # an image has one class
Data = Labelled | DetectionData

# What a folder of image files may be: how it is recognised, and how it is read.
_SHARDS: Final = "tar shards"
_CLASS_FOLDERS: Final = "class folders"
# With boxes. Their folders are no classes, though images are in them.
_BOXED: Final[dict[str, tuple[Callable[[Path], bool], Callable[[Path], DetectionData]]]] = {
    "PASCAL VOC's layout": (voc.is_in, voc.read),
    "COCO's JSON": (coco.is_in, coco.read),
    "YOLO's labels": (yolo.is_in, yolo.read),
    "ILSVRC's CLS-LOC layout": (ilsvrc.is_in, ilsvrc.read),
}
_KINDS: Final[dict[str, tuple[Callable[[Path], bool], Callable[[Path], Data]]]] = {
    **_BOXED,
    labels.TABLE: (labels.is_in, labels.read),
    _SHARDS: (shards.is_in, shards.read_folder),
    "Parquet files": (parquet.is_in, parquet.read_folder),
    _CLASS_FOLDERS: (folders.holds_classes, folders.read),
}


def open_data(where: str | Path) -> Data:
    """Open a data set by its name or from where it lies; its kind is recognised.

    That is one of `NAMES`, or a folder with a pack, CIFAR-10 as published, ImageNet's tars,
    `labels.csv`, tar shards in WebDataset's layout, Parquet files in Hugging Face's, one folder a
    class, or ImageNet's validation images and devkit; or one of ImageNet's tars, a tar shard or a
    Parquet file. With boxes it is a folder in VOC's, COCO's, YOLO's or ILSVRC's CLS-LOC layout, or
    a pack of one, one of COCO's JSONs or a YOLO data.yaml.

    Raises:
        DataError: There is no such name or folder, it is not what it should be, or it is several
            of these at once.
        FetchError: It has to be fetched and cannot be.
    """
    if where == "cifar10-sample":
        return sample.load()
    if where == "cifar10":
        return fetch.cifar10()
    if where == pasted.NAME:
        return pasted.make()
    if where == "synthetic":
        return synthetic.make()
    if str(where) == "":
        raise DataError(f"--data: an empty name; it takes a folder or one of {', '.join(NAMES)}")
    try:
        path = Path(where).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as err:
        raise DataError(f"--data {str(where)[:80]}: no name of a folder ({err})") from err
    if is_folder:
        return _open_folder(path)
    if is_file:
        return _open_file(path)
    raise DataError(
        errors.unknown("data", str(where), NAMES, "resnets data list")
        + "; nor is there a folder of that name"
    )


def labelled(data: Data) -> Labelled:
    """Return a data set whose images have one class each.

    Raises:
        DataError: They have boxes.
    """
    if not isinstance(data, DetectionData):
        return data
    if data.labelled is not None:
        return data.labelled()
    raise DataError(
        f"{data.name}: images with boxes, for detection; this needs one class an image: one folder "
        "of images a class, or labels.csv"
    )


def with_boxes(data: Data) -> DetectionData:
    """Return a data set whose images have boxes.

    Raises:
        DataError: They have a class each.
    """
    if isinstance(data, DetectionData):
        return data
    raise DataError(
        f"{data.name}: images with one class each; this needs boxes: a folder in VOC's, COCO's, "
        "YOLO's or ILSVRC's layout"
    )


def in_memory(data: Data) -> DataSet:
    """Return a data set whose images are in memory.

    Raises:
        DataError: Its images are files.
    """
    data = labelled(data)
    if isinstance(data, DataSet):
        return data
    raise DataError(
        f"{data.name}: image files; this needs small images in memory, which "
        "`resnets data list` shows"
    )


def _open_folder(path: Path) -> Data:
    try:
        if packs.is_in(path):
            return packs.read(path)
        if cifar.is_in(path):
            return cifar.read_folder(path)
        if imagenet.is_in(path):
            return imagenet.read_folder(path)
        return _open_files(path)
    except OSError as err:
        raise DataError(f"{err.filename or path}: cannot be read ({err.strerror})") from err


def _open_files(path: Path) -> Data:
    found = {kind: read for kind, (is_in, read) in _KINDS.items() if is_in(path)}
    if found.keys() & {labels.TABLE, *_BOXED}:  # whose images may stand in folders
        found.pop(_CLASS_FOLDERS, None)
    if _SHARDS in found and len(found) > 1 and not shards.begin_in(path):
        del found[_SHARDS]  # archives, beside what was unpacked from them
    if len(found) > 1:
        raise DataError(f"{path}: {' and '.join(found)} are here; leave one of these")
    if found.keys() <= {_CLASS_FOLDERS} and imagenet.is_flat(names := folders.image_names(path)):
        return imagenet.read_flat(path, names)
    for read in found.values():
        return read(path)
    for inside in sorted(path.iterdir()):
        if tars.is_compressed(inside):
            raise tars.compressed(inside)
    raise DataError(
        f"{path}: no data set is recognised here; --data takes a folder with labels.csv "
        "(file,class_index), one folder of images a class, tar shards, Parquet files, ImageNet's "
        "tars, or CIFAR-10, which `resnets data fetch cifar10` gets; with boxes VOC's, COCO's, "
        "YOLO's or ILSVRC's layout"
    )


def _open_file(path: Path) -> Data:
    kind = path.suffix.lower()
    try:
        if kind == parquet.SUFFIX:
            return parquet.read_file(path)
        if kind == coco.SUFFIX and coco.looks_like(path):
            return coco.read_file(path)
        if kind in yolo.SUFFIXES:
            return yolo.read_file(path)
        if kind == ".tar":
            is_imagenet = imagenet.is_archive(path)
            return imagenet.read_tar(path) if is_imagenet else shards.read_tar(path)
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err
    if tars.is_compressed(path):
        raise tars.compressed(path)
    raise DataError(
        f"{path}: a file; --data takes a folder or one of {', '.join(NAMES)}, a tar shard, a "
        f"Parquet file, ImageNet's {imagenet.VALIDATION_TAR}, COCO's JSON, or YOLO's data.yaml"
    )

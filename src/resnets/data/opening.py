"""From what `--data` says to a data set."""

from pathlib import Path
from typing import Final

from resnets.core import errors
from resnets.core.errors import DataError
from resnets.data import cifar, fetch, sample, synthetic
from resnets.data.sets import DataSet

# Name -> what it is, for `resnets data list`.
NAMES: Final = {
    "cifar10-sample": "500 training and 100 test images a class of CIFAR-10, built in",
    "cifar10": "all of CIFAR-10, 50,000 and 10,000 images; fetched once, 170 MB",
    "synthetic": "256 and 64 made-up images in 4 classes, for trying things out",
}


def open_data(where: str | Path) -> DataSet:
    """Open a data set by its name or from a folder that holds CIFAR-10 as published.

    Raises:
        DataError: There is no such name or folder, or it is not what it should be.
        FetchError: It has to be fetched and cannot be.
    """
    if where == "cifar10-sample":
        return sample.load()
    if where == "cifar10":
        return fetch.cifar10()
    if where == "synthetic":
        return synthetic.make()
    if str(where) == "":
        raise DataError(f"--data: an empty name; it takes a folder or one of {', '.join(NAMES)}")
    try:
        path = Path(where).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as err:
        raise DataError(f"--data {str(where)[:80]}: no name of a folder ({err})") from err
    if is_folder:
        return cifar.read_folder(path)
    if exists:
        raise DataError(f"{path}: a file; --data takes a folder or one of {', '.join(NAMES)}")
    raise DataError(
        errors.unknown("data", str(where), NAMES, "resnets data list")
        + "; nor is there a folder of that name"
    )

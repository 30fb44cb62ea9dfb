"""`cifar10-sample`: 500 training and 100 test images a class of CIFAR-10, inside the package.

The file is a zip of two lossless WebP sheets (ten images a row, in the order of the labels) and
`sample.json` with the labels and where in CIFAR-10 each image stands. scripts/make_sample.py
makes it.
"""

import io
import json
import zipfile
from importlib import resources

import numpy as np
import torch
from PIL import Image

from resnets.core.errors import DataError
from resnets.core.random import generator
from resnets.data import cifar
from resnets.data.sets import DataSet, ImageSet

FILE = "cifar10-sample.zip"
CONTENT_SHA256 = "84d8fdcb3151b16b3ceaba8483be1cdb8c1324448edef17329fefa2251b88408"
IMAGES_A_CLASS = {"train": 500, "test": 100}
_ROW = 10  # images in one row of a sheet


def load() -> DataSet:
    """Return the built-in sample.

    Raises:
        DataError: The installed file is damaged.
    """
    content = resources.files("resnets.data").joinpath(FILE).read_bytes()
    sample = decode(content)
    if sample.digest != CONTENT_SHA256:
        raise DataError(f"{FILE}: damaged: install resnets again")
    return sample


def choose(labels_n: torch.Tensor, split: str) -> torch.Tensor:
    """Return the indices of the sample's images in CIFAR-10's `split`, ascending."""
    order = torch.randperm(len(labels_n), generator=generator(0, "cifar10-sample", split))
    chosen = [
        order[labels_n[order] == label][: IMAGES_A_CLASS[split]]
        for label in range(len(cifar.CLASSES))
    ]
    return torch.cat(chosen).sort().values


def encode(whole: DataSet) -> bytes:
    """Return the sample of CIFAR-10 as the content of its file; the same bytes every time."""
    about = {}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for split, images in (("train", whole.train), ("test", whole.test)):
            index_n = choose(images.labels_n, split)
            chosen = images.take(index_n)
            archive.writestr(zipfile.ZipInfo(f"{split}.webp"), _sheet(chosen.images_nhwc.numpy()))
            about[split] = {"index": index_n.tolist(), "label": chosen.labels_n.tolist()}
        archive.writestr(zipfile.ZipInfo("sample.json"), json.dumps(about))
    return made.getvalue()


def decode(content: bytes) -> DataSet:
    """Return the data set in the content of a sample file.

    Raises:
        DataError: It is not one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            about = json.loads(archive.read("sample.json"))
            train, test = (
                _split(archive.read(f"{split}.webp"), about[split]["label"])
                for split in ("train", "test")
            )
    except DataError:
        raise
    # zipfile, json and Pillow raise a dozen kinds on damaged bytes; each means the same.
    except Exception as err:
        raise DataError(f"{FILE}: not a sample of CIFAR-10 ({err})") from err
    return DataSet("cifar10-sample", "cifar10-sample", cifar.CLASSES, train, test)


def _split(sheet: bytes, labels: list[int]) -> ImageSet:
    pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
    rows = pixels.reshape(-1, 32, _ROW, 32, 3).transpose(0, 2, 1, 3, 4)
    images_nhwc = torch.from_numpy(rows.reshape(-1, 32, 32, 3).copy())
    labels_n = torch.tensor(labels)
    if len(images_nhwc) != len(labels) or not set(labels) <= set(range(len(cifar.CLASSES))):
        raise DataError(f"{FILE}: {len(images_nhwc)} images, and labels that are not theirs")
    return ImageSet(images_nhwc, labels_n)


def _sheet(images_nhwc: np.ndarray) -> bytes:
    rows = images_nhwc.reshape(-1, _ROW, 32, 32, 3).transpose(0, 2, 1, 3, 4)
    made = io.BytesIO()
    Image.fromarray(rows.reshape(-1, _ROW * 32, 3)).save(
        made, "webp", lossless=True, method=6, quality=100
    )
    return made.getvalue()

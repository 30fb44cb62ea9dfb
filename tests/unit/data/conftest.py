import io
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.files import ImageFiles


class AsPython2(pickle._Pickler):
    """Pickles as Python 2 did, which wrote CIFAR-10: text is bytes, numpy has its old name."""

    def save_string(self, text):
        content = text.encode("latin-1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    def save_global(self, obj, name=None):
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else obj.__module__
        self.write(pickle.GLOBAL + f"{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    def save_type(self, obj):
        self.save_global(obj)

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string, type: save_type}


@pytest.fixture(scope="session")
def as_python_2():
    def dumps(value):
        made = io.BytesIO()
        AsPython2(made, protocol=2).dump(value)
        return made.getvalue()

    return dumps


def png(seed, width, height):
    made = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


class Shelf:
    """Images of many sizes, whose label is their index, and a record of which were read."""

    def __init__(self, count, damaged=()):
        self.contents = [png(i, 12 + i, 30 - i) for i in range(count)]
        for i in damaged:
            self.contents[i] = b"no image"
        self.read = []

    def files(self):
        def read(index):
            self.read.append(index)
            return self.contents[index]

        names = tuple(f"n/{i}.png" for i in range(len(self.contents)))
        return ImageFiles(names, torch.arange(len(names)), read)


@pytest.fixture
def shelf():
    return Shelf

import io
import pickle
import struct

import pytest


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

"""Whatever stands in a data file, reading it gives the right data or one kind of error."""

import contextlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from damage import damaged
from resnets.core.errors import DataError
from resnets.data import cifar, sample
from resnets.data.sets import DataSet, ImageSet

fuzz = settings(deadline=None, max_examples=300)


def coloured(images):
    pixels = (torch.arange(images * 3) * 37 % 256).to(torch.uint8).reshape(-1, 1, 1, 3)
    return ImageSet(pixels.expand(-1, 32, 32, 3).contiguous(), torch.arange(images) % 10)


def small_sample():
    """A file like the sample's, of ten and ten images: quick to read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "IMAGES_A_CLASS", {"train": 1, "test": 1})
        return sample.encode(DataSet("a", "a", cifar.CLASSES, coloured(10), coloured(20)))


SAMPLE = small_sample()
DIGEST = sample.decode(SAMPLE).digest


@fuzz
@given(damaged(SAMPLE))
def test_a_damaged_sample_is_an_error_or_the_same_images(content):
    with contextlib.suppress(DataError):
        assert sample.decode(content).digest == DIGEST


@fuzz
@given(st.binary(max_size=200))
def test_any_bytes_are_no_sample(content):
    with pytest.raises(DataError):
        sample.decode(content)


# A batch of two images is well formed but for its size, so everything it holds is refused.
BATCH = {
    b"data": np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)[:, :40],
    b"labels": [3, 7],
    b"filenames": [b"a.png", "b.png"],
}
PICKLES = [pickle.dumps(BATCH, protocol=protocol) for protocol in (0, 2, 3, 4, 5)]


@contextlib.contextmanager
def little_memory():
    """Refuse this process more than half a gigabyte beside what it has: pickles may ask for it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refused(path, content):
    path.write_bytes(content)
    with little_memory(), pytest.raises(DataError):
        cifar._read_pickled(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "data_batch_1"


def test_the_pickles_to_be_damaged_are_sound():
    for content in PICKLES:
        found = pickle.loads(content)
        assert np.array_equal(found[b"data"], BATCH[b"data"])


@fuzz
@given(st.sampled_from(PICKLES).flatmap(damaged))
def test_a_damaged_pickle_is_an_error_and_nothing_else(file, content):
    refused(file, content)


OPCODES = [getattr(pickle, name) for name in pickle.__all__ if name.isupper() and len(name) > 2]
OPCODES = [code for code in OPCODES if isinstance(code, bytes) and len(code) == 1]
arguments = st.sampled_from(
    [b"", b"\x00", b"\x01", b"\x05", b"\xff\xff\x00\x00", b"os\nsystem\n", b"numpy\nndarray\n"]
)


@fuzz
@given(
    st.lists(st.tuples(st.sampled_from(OPCODES), arguments | st.binary(max_size=5)), max_size=12)
)
def test_any_program_of_pickles_opcodes_is_an_error_and_nothing_else(file, program):
    refused(file, b"".join(code + argument for code, argument in program) + pickle.STOP)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(fuzz, suppress_health_check=[HealthCheck.too_slow])
@given(plain, plain, st.sampled_from([0, 2, 3, 4]))
def test_any_values_in_the_place_of_images_and_labels_are_refused(file, data, labels, protocol):
    refused(file, pickle.dumps({b"data": data, b"labels": labels}, protocol=protocol))


@fuzz
@given(plain)
def test_any_values_in_the_place_of_labels_are_refused_beside_sound_images(labels):
    pixels = np.zeros((3, 3072), np.uint8)
    if isinstance(labels, list) and len(labels) == 3:
        assume(any(not isinstance(label, int | float | str | bytes) for label in labels))
    with pytest.raises(DataError, match="labels"):
        cifar._batch(Path("data_batch_1"), pixels, labels)

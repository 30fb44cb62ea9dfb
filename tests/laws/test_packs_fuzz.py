"""Whatever stands in a pack's files, reading it gives the right images or one kind of error."""

import json
import shutil
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import samples
from resnets.core import artifacts
from resnets.core.errors import DataError, ResNetsError
from resnets.data import opening, packing, packs
from resnets.data.files import SPLITS
from resnets.data.packs import Index, LeftOut, Origin, Resize

fuzz = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NUMBERS = ("labels_n", "shard_n", "start_n", "bytes_n", "crc32_n")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A pack of four images in two splits and two shards, and the files it is made of."""
    at = tmp_path_factory.mktemp("sound")
    for i in range(4):
        path = at / "photos" / ("train", "val")[i % 2] / ("cat", "dog")[i // 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(samples.jpeg(i, 60, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_SHARD_BYTES", 3_000)
        packing.pack(opening.open_data(at / "photos"), at / "pack")
    return at / "pack"


@pytest.fixture(scope="module")
def expected(sound):
    return everything(opening.open_data(sound))


def everything(data):
    """What a data set says of every image: its split, name, label and bytes."""
    return {
        (split, name): (label, files.read(i))
        for split, files in data.splits.items()
        for i, (name, label) in enumerate(zip(files.names, files.labels_n.tolist(), strict=True))
    }


@pytest.fixture
def copy(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "pack", dirs_exist_ok=True)
    return tmp_path / "pack"


def read_or_refused(folder):
    """Return everything in a pack, or nothing where it is refused in one line."""
    try:
        return everything(opening.open_data(folder))
    except DataError as err:
        told = str(err)
    assert str(folder) in told
    assert "\n" not in told
    return None


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["change", "remove", "insert", "cut"]),
        st.integers(0, 10**6),
        st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=3,
)


def mutated(content, mutations):
    for kind, where, new in mutations:
        at = where % (len(content) + 1)
        if kind == "cut":
            content = content[:at]
        else:
            after = at if kind == "insert" else at + len(new)
            content = content[:at] + (b"" if kind == "remove" else new) + content[after:]
    return content


@fuzz
@given(st.sampled_from([packs.INDEX, packs.shard_name(0), packs.shard_name(1)]), MUTATIONS)
def test_a_damaged_file_of_a_pack_is_an_error_or_changes_nothing(
    sound, copy, expected, name, mutations
):
    (copy / name).write_bytes(mutated((sound / name).read_bytes(), mutations))
    found = read_or_refused(copy)
    shutil.copy(sound / name, copy / name)
    assert found in (None, expected)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2, 4, 1.5, 10**30, "", "train", "validation", "a\ud800"])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
ABOUT = ("kind", "pack_format", "origin", "classes", "splits", "resized_images", "left_out")


def inside(value, path, new):
    """Return a JSON value with something else at one place in it."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    made = json.loads(json.dumps(value))
    keys = sorted(made) if isinstance(made, dict) else range(len(made))
    key = keys[path[0] % len(keys)]
    made[key] = inside(made[key], path[1:], new)
    return made


@fuzz
@given(st.sampled_from(ABOUT), st.lists(st.integers(0, 9), max_size=3), VALUES)
def test_an_index_that_describes_itself_otherwise_never_gives_other_bytes(
    sound, copy, expected, key, path, new
):
    """Somebody wrote it with the right checksum: names and labels are theirs to give."""
    tensors, about = artifacts.load_tensors(sound / packs.INDEX)
    artifacts.save_tensors(
        copy / packs.INDEX, tensors, about | {key: inside(about[key], path, new)}
    )
    found = read_or_refused(copy)
    shutil.copy(sound / packs.INDEX, copy / packs.INDEX)
    if found is not None:
        assert {content for _, content in found.values()} <= {c for _, c in expected.values()}


numbers = st.sampled_from([0, 1, -1, 2, 3, 5, 1 << 31, 1 << 32, (1 << 63) - 1, -(1 << 63)])
dtypes = st.sampled_from([torch.int64, torch.int32, torch.uint8, torch.float32, torch.bool])


@fuzz
@given(st.sampled_from(NUMBERS), st.lists(numbers, max_size=5), dtypes | st.none(), st.data())
def test_an_index_with_other_numbers_never_gives_other_bytes(
    sound, copy, expected, name, made, dtype, data
):
    tensors, about = artifacts.load_tensors(sound / packs.INDEX)
    column_n = tensors[name]
    if dtype is None:  # one number of a good column
        at = data.draw(st.integers(0, len(column_n) - 1))
        column_n[at] = data.draw(numbers | st.integers(0, 5_000))
    else:
        column_n = torch.tensor(made, dtype=torch.int64).to(dtype)
    artifacts.save_tensors(copy / packs.INDEX, tensors | {name: column_n}, about)
    found = read_or_refused(copy)
    shutil.copy(sound / packs.INDEX, copy / packs.INDEX)
    if found is not None:
        assert {content for _, content in found.values()} <= {c for _, c in expected.values()}


texts = st.text(max_size=8) | st.sampled_from(["a/b.jpg", "a\nb", "a\0b", "A\ud800", "\N{SNOWMAN}"])


@st.composite
def indices(draw):
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    n = sum(counts)
    classes = draw(st.none() | st.lists(texts, min_size=1, max_size=4).map(tuple))
    column = lambda low, high: torch.tensor(  # noqa: E731
        draw(st.lists(st.integers(low, high), min_size=n, max_size=n))
    )
    return Index(
        origin=Origin(
            draw(texts),
            draw(texts),
            draw(st.none() | texts),
            draw(st.none() | st.builds(Resize, st.integers(1, 4096), st.integers(1, 100))),
        ),
        classes=classes,
        splits=tuple(zip(draw(st.permutations(SPLITS)), counts, strict=False)),
        names=tuple(draw(st.lists(texts, min_size=n, max_size=n))),
        labels_n=column(0, 5 if classes is None else len(classes) - 1),
        shard_n=torch.arange(n) // draw(st.integers(1, n)),
        start_n=column(0, 1 << 40),
        bytes_n=column(1, (1 << 31) - 1),
        crc32_n=column(0, (1 << 32) - 1),
        resized_images=draw(st.integers(0, n)),
        left_out=tuple(draw(st.lists(st.builds(LeftOut, texts, texts, texts), max_size=2))),
    )


@fuzz
@given(indices())
def test_an_index_that_is_saved_and_loaded_is_the_same(tmp_path, index):
    packs.save(tmp_path, index)
    first = (tmp_path / packs.INDEX).read_bytes()
    found = packs.load(tmp_path)
    for each in fields(Index):
        one, other = getattr(index, each.name), getattr(found, each.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    packs.save(tmp_path, replace(found))
    assert (tmp_path / packs.INDEX).read_bytes() == first


@fuzz
@given(st.data())
def test_a_journal_with_anything_in_it_is_an_error_or_continues_to_the_same_images(
    sound, tmp_path_factory, expected, data
):
    origin = packs.load(sound).origin
    out = tmp_path_factory.mktemp("journal")
    head = json.dumps(packing._head(origin, 1)).encode() + b"\n"
    (out / packs.JOURNAL).write_bytes(mutated(head, data.draw(MUTATIONS)))
    try:
        packing.pack(opening.open_data(sound.parent / "photos"), out)
    except ResNetsError as err:
        told = str(err)
    else:
        told = ""
        assert everything(opening.open_data(out)) == expected
    assert "\n" not in told

"""Whatever stands in a tar shard, a Parquet file or a table: the images, or one kind of error."""

import contextlib
import io

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import damaged
from resnets.core.errors import DataError
from resnets.data import labels, opening, parquet, shards
from samples import archive, shard, table

fuzz = settings(deadline=None, max_examples=200)
CONTENTS = [bytes([65 + i]) * 40 * i for i in range(6)]
ROWS = [(f"{i}.jpg", content, i % 3) for i, content in enumerate(CONTENTS)]
TAR = shard(ROWS)
JSON_TAR = shard([(name, content, {"label": "xyz"[i]}) for name, content, i in ROWS], "json")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def written(**how):
    made = io.BytesIO()
    pq.write_table(table(ROWS, ["x", "y", "z"]), made, row_group_size=2, **how)
    return made.getvalue()


PARQUET = [
    written(),
    written(compression="none", use_dictionary=False),
    written(compression="none", write_page_checksum=True),
]


def read_all(path, content, read):
    """Read every image, or meet one clear line."""
    path.write_bytes(content)
    try:
        data = read(path)
    except DataError as err:
        lines = str(err).splitlines()
    else:
        lines = [f"{len(data.digest)} digits"]
        names = [name for files in data.splits.values() for name in files.names]
        assert len(set(names)) == len(names)
        for files in data.splits.values():
            assert all(0 <= label <= labels.HIGHEST for label in files.labels_n.tolist())
            for index in range(len(files)):
                with contextlib.suppress(DataError):
                    assert isinstance(files.read(index), bytes)
    assert len(lines) == 1


@fuzz
@given(st.sampled_from([TAR, JSON_TAR]).flatmap(damaged))
def test_a_damaged_shard_is_an_error_or_samples(folder, content):
    read_all(folder / "a.tar", content, shards.read_tar)


@fuzz
@given(st.sampled_from(PARQUET).flatmap(damaged))
def test_a_damaged_parquet_file_is_an_error_or_rows(folder, content):
    read_all(folder / "a.parquet", content, parquet.read_file)


@pytest.mark.parametrize("content", [TAR, JSON_TAR, *PARQUET])
def test_what_is_to_be_damaged_is_sound(folder, content):
    file = folder / ("a.tar" if content in (TAR, JSON_TAR) else "a.parquet")
    file.write_bytes(content)
    (split,) = opening.open_data(file).splits.values()
    assert [split.read(i) for i in range(6)] == CONTENTS
    assert split.labels_n.tolist() == [label for _, _, label in ROWS]


@fuzz
@given(
    st.dictionaries(
        st.text("ab./_", min_size=1, max_size=6).map(lambda stem: stem + "x")
        | st.sampled_from(["a.jpg", "a.cls", "a.json", "b.png", "b.cls"]),
        st.sampled_from(
            [b"", b"1", b"-1", b"{}", b'{"label": 1}', b'{"class": "c"}', b"[[", b"9" * 9]
        )
        | st.binary(max_size=9),
        max_size=6,
    )
)
def test_any_members_are_an_error_or_samples(folder, members):
    read_all(folder / "a.tar", archive(members), shards.read_tar)


@fuzz
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "file",
                "class",
                "class_index",
                "split",
                ",",
                "\n",
                "a.png",
                "1",
                "cat",
                "train",
                '"',
                " ",
            ]
        ),
        max_size=24,
    ).map("".join)
)
def test_any_table_is_an_error_or_labels(folder, text):
    (folder / "a.png").touch()
    read_all(
        folder / "labels.csv",
        text.encode("utf-8", "replace"),
        lambda path: labels.read(path.parent),
    )

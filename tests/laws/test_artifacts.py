"""A file comes back exactly as it was saved or is refused; nothing read can run code."""

import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resnets.core import artifacts
from resnets.core.errors import CheckpointError

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.tensor([1.5, -2.0, float("nan")], dtype=torch.bfloat16),
    "updates": torch.tensor(2**40 + 1),
    "empty": torch.empty(0, 3),
}
ABOUT = {"classes": ["cat", "dög"], "mean": [0.5, 1e-7], "recipe": {"n": 3, "none": None}}
DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
abouts = st.dictionaries(st.text().filter(lambda key: key != "format"), json_values, max_size=4)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    made = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(len(shape)))
    return made.to(draw(st.sampled_from(DTYPES)))


def saved(tensors, about):
    """The bytes of a file of these tensors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        artifacts.save_tensors(path, tensors, about)
        return path.read_bytes()


def loaded(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(content)
        found, about = artifacts.load_tensors(path)
        return {name: tensor.clone() for name, tensor in found.items()}, about


def same_bits(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == tensor.dtype
        and found[name].shape == tensor.shape
        and found[name]
        .flatten()
        .view(torch.uint8)
        .equal(tensor.contiguous().flatten().view(torch.uint8))
        for name, tensor in expected.items()
    )


def repr_of_start(content):
    return repr(content[:8])


GOOD = saved(TENSORS, ABOUT)


def is_refused(content):
    """Whether a changed file is refused; if it is not, it must hold exactly what was saved."""
    try:
        found, about = loaded(content)
    except CheckpointError:
        return True
    assert same_bits(found, TENSORS)
    assert about == {"format": 1, **ABOUT}
    return False


@settings(deadline=None, max_examples=15)
@given(st.dictionaries(st.text("abc.01é", min_size=1), tensors(), max_size=4), abouts)
def test_tensors_and_their_description_come_back_as_they_were_saved(made, about):
    found, found_about = loaded(saved(made, about))
    assert same_bits(found, made)
    assert found_about == {"format": 1, **about}


def test_channels_last_transposed_and_trained_tensors_come_back_by_value():
    made = {
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).t(),
        "expanded": torch.randn(1, 3).expand(4, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    found, _ = loaded(saved(made, {}))
    assert all(torch.equal(found[name], tensor) for name, tensor in made.items())
    assert not any(tensor.requires_grad for tensor in found.values())


def test_the_same_content_makes_the_same_file_in_whatever_order_it_is_given():
    backwards = {name: TENSORS[name] for name in reversed(TENSORS)}
    about_backwards = {name: ABOUT[name] for name in reversed(ABOUT)}
    found, about = loaded(saved(backwards, about_backwards))
    assert same_bits(found, TENSORS)
    assert about == {"format": 1, **ABOUT}
    assert artifacts.sha256_of(backwards) == artifacts.sha256_of(TENSORS)


def test_the_sha256_of_tensors_is_over_their_bytes_in_name_order():
    # printf '\1\2\3\4' | sha256sum
    expected = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"
    parts = {"b": torch.tensor([3, 4], dtype=torch.uint8), "a": torch.tensor([[1], [2]])}
    parts["a"] = parts["a"].to(torch.uint8)
    assert artifacts.sha256_of(parts) == expected


def test_a_file_cut_short_anywhere_is_refused():
    assert not is_refused(GOOD)
    assert all(is_refused(GOOD[:length]) for length in range(0, len(GOOD), 3))


def test_a_file_with_any_one_byte_changed_is_refused():
    for at, byte in enumerate(GOOD):
        other = byte ^ (1 << (at % 8))
        assert is_refused(GOOD[:at] + bytes([other]) + GOOD[at + 1 :]), (at, other)


edits = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "truncate"]),
        st.integers(0, len(GOOD) - 1),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(edits)
@example([("truncate", 0, b"x")])
@example([("insert", 0, b"\0")])
def test_a_damaged_file_is_refused_or_holds_exactly_what_was_saved(edits):
    content = GOOD
    for kind, at, data in edits:
        before, after = content[:at], content[at:]
        content = {
            "replace": before + data + after[len(data) :],
            "insert": before + data + after,
            "delete": before + after[len(data) :],
            "truncate": before,
        }[kind]
    is_refused(content)  # asserts that whatever is not refused is what was saved


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(content):
    assert is_refused(content)


def test_two_tensors_cannot_change_places():
    content = saved({"a": torch.zeros(3), "b": torch.ones(3)}, {})
    assert content.count(b'"a":') == 1
    swapped = content.replace(b'"a":', b'"?":').replace(b'"b":', b'"a":').replace(b'"?":', b'"b":')
    with pytest.raises(CheckpointError, match="damaged: its content does not match its checksum"):
        loaded(swapped)


class Bomb:
    """Unpickling one makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def torch_zip(value):
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


def torch_legacy(value):
    made = io.BytesIO()
    torch.save(value, made, _use_new_zipfile_serialization=False)
    return made.getvalue()


@pytest.mark.parametrize("encode", [pickle.dumps, torch_zip, torch_legacy])
def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path, encode):
    marker, path = tmp_path / "marker", tmp_path / "weights.safetensors"
    path.write_bytes(encode({"weight": torch.zeros(2), "bomb": Bomb(marker)}) + b"\n{}\n")
    for read in (artifacts.load_tensors, artifacts.read_json):
        with pytest.raises(CheckpointError, match=r"weights\.safetensors: not "):
            read(path)
    with pytest.raises(CheckpointError, match="line 1 is not JSON"):
        artifacts.read_lines(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists(), "the bomb was none, so this test has shown nothing"


def zip_of(name, content):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, content)
    return made.getvalue()


def with_header(header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


FOREIGN = {
    "an empty file": b"",
    "a zip": zip_of("weights.safetensors", GOOD),
    "zeros": bytes(1000),
    "an HTML page": b"<!DOCTYPE html><html>" + b" " * 500,
    "a header of 8 EiB": struct.pack("<Q", 2**63) + GOOD[8:],
    "a header of 2**64 - 1 bytes": b"\xff" * 8 + GOOD[8:],
    "a header longer than the file": struct.pack("<Q", 10**7) + GOOD[8:],
    "a deeply nested header": with_header(b'{"a":' * 100_000),
    "a tensor of 2**65 bytes": with_header(
        {"w": {"dtype": "F32", "shape": [2**63], "data_offsets": [0, 2**65]}}
    ),
    "a tensor outside the file": with_header(
        {"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, b"\0" * 8
    ),
    "overlapping tensors": with_header(
        {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}, b"\0" * 8
    ),
    "an unknown type of number": with_header(
        {"w": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"\0" * 3
    ),
    "a length that overflows": with_header(
        {"w": {"dtype": "F32", "shape": [2**63, 0], "data_offsets": [0, 0]}}
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_in_one_line_that_names_it(tmp_path, kind):
    path = tmp_path / "given.safetensors"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(CheckpointError, match=r"given\.safetensors: not a checkpoint") as caught:
        artifacts.load_tensors(path)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        artifacts.load_tensors(tmp_path)
    with pytest.raises(CheckpointError, match=r"no\.safetensors: there is no such file"):
        artifacts.load_tensors(tmp_path / "no.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"sha256": "0" * 64}])
def test_safetensors_of_others_are_told_from_damaged_files_of_ours(metadata):
    content = safetensors.torch.save(TENSORS, metadata=metadata)
    with pytest.raises(CheckpointError, match="a safetensors file that resnets did not write"):
        loaded(content)


def signed(about, made):
    """A file whose checksum is right, whatever its description is: checksums are no secret."""
    try:
        told = json.loads(about)
        signature = {"sha256": artifacts._digest(made, told)}
        about = json.dumps({**told, **signature})
    except (ValueError, TypeError, RecursionError):
        pass  # no description that could hold a checksum
    return safetensors.torch.save(made, metadata={"about": about})


def test_a_file_of_a_newer_format_says_so():
    about = json.dumps({"format": artifacts.FORMAT + 1})
    with pytest.raises(CheckpointError, match=r"a newer resnets \(format 2.*upgrade resnets"):
        loaded(signed(about, TENSORS))
    loaded(signed(json.dumps({"format": artifacts.FORMAT}), TENSORS))


@pytest.mark.parametrize(
    "about",
    ["", "not JSON", "[]", "{}", "3", '{"format": "1"}', '{"format": null}', "[" * 100_000],
    ids=lambda about: about[:20] or "nothing",
)
def test_a_description_that_resnets_cannot_have_written_is_refused(about):
    with pytest.raises(CheckpointError):
        loaded(signed(about, TENSORS))


def test_what_was_loaded_stays_when_the_file_is_overwritten_in_place(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(GOOD)
    found, _ = artifacts.load_tensors(path)
    with path.open("r+b") as file:
        file.write(bytes(len(GOOD)))
    assert same_bits(found, TENSORS)


@settings(deadline=None, max_examples=15)
@given(st.dictionaries(st.text(), json_values, max_size=3))
def test_a_json_object_comes_back_as_it_was_written(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        artifacts.write_json(path, value)
        assert artifacts.read_json(path) == value
        artifacts.write_lines(path, [value, {}, value])
        artifacts.append_line(path, value)
        assert artifacts.read_lines(path) == [value, {}, value, value]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"not JSON"],
    ids=repr_of_start,
)
def test_a_file_that_is_not_json_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json: not readable as JSON") as caught:
        artifacts.read_json(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "[{}]", "3", '"text"', "null", "true"])
def test_json_that_is_not_an_object_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match="expected a JSON object, got"):
        artifacts.read_json(path)
    path.write_text(f'{{"a": 1}}\n{content}\n{{"a": 2}}\n')
    with pytest.raises(CheckpointError, match="line 2 is not a JSON object"):
        artifacts.read_lines(path)


def test_a_missing_file_is_no_json_and_a_missing_journal_is_empty(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.json: there is no such file"):
        artifacts.read_json(tmp_path / "a.json")
    assert artifacts.read_lines(tmp_path / "journal.jsonl") == []


def test_a_journal_cut_at_any_byte_gives_the_lines_that_were_whole(tmp_path):
    path = tmp_path / "journal.jsonl"
    records = [{"update": 1, "loss": 2.5}, {"update": 2, "note": "ö\n\u2028"}, {"update": 3}]
    artifacts.write_lines(path, records)
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        found = artifacts.read_lines(path)
        assert found == records[: len(found)]
        whole = content[:length].count(b"\n")
        assert len(found) in (whole, whole + 1)  # + 1 where only the newline is missing


@pytest.mark.parametrize("line", [b'{"a":', b"\xff", b"", b"[" * 100_000], ids=repr_of_start)
def test_a_broken_line_before_the_last_is_an_error_that_names_it(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(CheckpointError, match=r"journal\.jsonl: line 2 is not JSON"):
        artifacts.read_lines(path)


@pytest.mark.parametrize("line", [b'{"a":', b"\xff", b"[" * 100_000], ids=repr_of_start)
def test_a_broken_last_line_that_was_written_whole_is_an_error(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(CheckpointError, match=r"journal\.jsonl: line 2 is not JSON"):
        artifacts.read_lines(path)


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(CheckpointError):
        artifacts.read_lines(tmp_path)

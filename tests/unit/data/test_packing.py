"""Packing: the same bytes whatever happens on the way, and one line for what cannot be packed."""

import contextlib
import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

import samples
from resnets.cli import listing
from resnets.core import artifacts
from resnets.core.errors import BusyError, DataError, StorageError
from resnets.data import images, opening, packing, packs, preprocess

IMAGES = 7


def put(folder, contents):
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seven JPEGs of 60 to 120 px in two splits of two classes."""
    at = tmp_path_factory.mktemp("data") / "photos"
    for i in range(IMAGES):
        split, name = ("train", "val")[i % 3 == 2], ("cat", "dog")[i % 2]
        put(at, {f"{split}/{name}/{i}.jpg": samples.jpeg(i, 60 + 10 * i, 120 - 10 * i)})
    return at


def pack(data, out, **settings):
    return packing.pack(opening.open_data(data), out, **settings)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != artifacts.LOCK}


def same_files(one, other):
    assert one.classes == other.classes
    assert list(one.splits) == list(other.splits)
    for name, files in one.splits.items():
        twin = other.splits[name]
        assert files.names == twin.names
        assert files.labels_n.tolist() == twin.labels_n.tolist()
        assert [files.read(i) for i in range(len(files))] == [
            twin.read(i) for i in range(len(twin))
        ]


def test_a_pack_has_the_files_names_labels_and_digest_of_what_was_packed(photos, tmp_path):
    index = pack(photos, tmp_path / "a" / "pack")
    packed, whole = opening.open_data(tmp_path / "a" / "pack"), opening.open_data(photos)
    same_files(packed, whole)
    assert (packed.name, packed.where) == ("photos", str(tmp_path / "a" / "pack"))
    assert packed.digest == whole.digest
    assert (index.resized_images, index.left_out) == (0, ())
    assert sorted(contents(tmp_path / "a" / "pack")) == ["pack.safetensors", "shard-00000.bin"]


def test_what_has_no_class_names_is_packed_with_its_indices(tmp_path):
    put(tmp_path / "d", {"labels.csv": b"file,class_index\na.jpg,3\n", "a.jpg": samples.jpeg(0)})
    pack(tmp_path / "d", tmp_path / "pack")
    packed = opening.open_data(tmp_path / "pack")
    assert packed.classes is None
    assert packed.splits["validation"].labels_n.tolist() == [3]


def test_a_file_of_any_name_is_packed(tmp_path):
    put(tmp_path / "d", {"cat/new\nline \N{SNOWMAN}.jpg": samples.jpeg(0)})
    pack(tmp_path / "d", tmp_path / "pack")
    packed = opening.open_data(tmp_path / "pack")
    assert packed.splits["validation"].names == ("cat/new\nline \N{SNOWMAN}.jpg",)


def test_longer_shorter_sides_are_resized_and_other_files_stay_as_they_are(photos, tmp_path):
    index = pack(photos, tmp_path / "pack", shorter_px=70)
    packed, whole = opening.open_data(tmp_path / "pack"), opening.open_data(photos)
    resized = 0
    for name, files in whole.splits.items():
        for i in range(len(files)):
            before, after = files.image(i), packed.splits[name].image(i)
            if min(before.size) <= 70:
                assert packed.splits[name].read(i) == files.read(i)
                continue
            resized += 1
            wanted = preprocess.resize(before, 70, "bicubic")
            assert after.size == wanted.size == preprocess.resized(before.size, 70)
            difference = np.asarray(after, np.int64) - np.asarray(wanted, np.int64)
            assert abs(difference).mean() < 5  # of noise, whose colours JPEG halves
    assert index.resized_images == resized
    assert 0 < resized < IMAGES


def test_a_resized_image_is_a_baseline_jpeg_of_that_quality_without_the_remarks_of_the_file(
    tmp_path,
):
    made = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(made, "JPEG", comment=b"taken at home", exif=b"Exif\0\0" + bytes(9))
    put(tmp_path / "d", {"cat/a.jpg": made.getvalue()})
    sizes = []
    for quality in (30, 90):
        pack(tmp_path / "d", tmp_path / f"{quality}", shorter_px=30, quality=quality)
        content = opening.open_data(tmp_path / f"{quality}").splits["validation"].read(0)
        sizes.append(len(content))
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (40, 30))
            assert not {"comment", "exif", "progressive"} & set(image.info)
    assert sizes[0] < 0.7 * sizes[1]


def test_an_image_that_halves_keeps_its_colours_and_loses_what_would_alias(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # every second column: antialiasing makes it grey
    made = io.BytesIO()
    Image.fromarray(stripes).save(made, "PNG")
    put(tmp_path / "d", {"cat/a.png": made.getvalue()})
    pack(tmp_path / "d", tmp_path / "pack", shorter_px=32)
    pixels = np.asarray(opening.open_data(tmp_path / "pack").splits["validation"].image(0))
    assert pixels.shape == (32, 32, 3)
    assert abs(pixels[4:-4, 4:-4].astype(int) - 127).max() <= 4


def test_the_digest_tells_resized_images_from_those_they_were_made_of(photos, tmp_path):
    settings = [{}, {"shorter_px": 60}, {"shorter_px": 60, "quality": 80}, {"shorter_px": 1000}]
    digests = []
    for number, given in enumerate(settings):
        pack(photos, tmp_path / f"{number}", **given)
        digests.append(opening.open_data(tmp_path / f"{number}").digest)
    assert len(set(digests[:3])) == 3
    assert digests[0] == digests[3] == opening.open_data(photos).digest  # nothing was as large


def test_a_pack_of_a_pack_is_the_same_data(photos, tmp_path):
    pack(photos, tmp_path / "a", shorter_px=64)
    pack(tmp_path / "a", tmp_path / "b")
    first, second = (opening.open_data(tmp_path / name) for name in "ab")
    same_files(first, second)
    assert first.digest == second.digest


def test_images_that_cannot_be_decoded_are_left_out_and_named(photos, tmp_path, capfd):
    at = tmp_path / "d"
    put(at, {"cat/a.jpg": samples.jpeg(0), "cat/b.jpg": b"no image"})
    put(at, {"dog/c.jpg": samples.jpeg(1)[:-500], "dog/d.jpg": samples.jpeg(2)})
    found = listing.pack(str(at), tmp_path / "pack", None, None, whole=True)
    assert (found["images"], found["left_out_images"], found["resized_images"]) == (2, 2, 0)
    assert [(each["split"], each["file"]) for each in found["left_out"]] == [
        ("validation", "cat/b.jpg"),
        ("validation", "dog/c.jpg"),
    ]
    assert "damaged image" in found["left_out"][1]["why"]
    told = capfd.readouterr().err.splitlines()
    assert told[0].startswith("cat/b.jpg: not an image")
    assert told[-1].startswith("2 of 4 images cannot be read or decoded and were left out")
    packed = opening.open_data(tmp_path / "pack")
    assert packed.splits["validation"].names == ("cat/a.jpg", "dog/d.jpg")
    assert packed.splits["validation"].labels_n.tolist() == [0, 1]
    assert packed.digest == found["digest"] != opening.open_data(at).digest
    assert "left_out" not in listing.pack(str(at), tmp_path / "pack", None, None, whole=False)


def test_only_the_first_of_many_images_left_out_are_told(tmp_path, capfd):
    bad = {f"cat/{i:02}.jpg": b"" for i in range(30)}
    put(tmp_path / "d", bad | {"cat/a.jpg": samples.jpeg(0)})
    assert len(pack(tmp_path / "d", tmp_path / "pack").left_out) == 30
    assert len(capfd.readouterr().err.splitlines()) == 11


def test_a_split_without_an_image_that_can_be_decoded_is_refused(tmp_path):
    put(tmp_path / "d", {"train/cat/a.jpg": samples.jpeg(0), "val/cat/b.jpg": b""})
    with pytest.raises(
        DataError, match=r"no image of its split validation can be decoded \(1 files"
    ):
        pack(tmp_path / "d", tmp_path / "pack")


@pytest.fixture
def small_shards(monkeypatch):
    """Three images a shard, about, and a line of the journal for every second image."""
    monkeypatch.setattr(packing, "_SHARD_BYTES", 6_000)
    monkeypatch.setattr(packing, "_JOURNAL_BYTES", 3_000)


def test_shards_are_no_longer_than_their_limit_and_hold_the_images_in_order(
    photos, tmp_path, small_shards
):
    index = pack(photos, tmp_path / "pack")
    assert len(index.shards_bytes) > 2
    assert max(index.shards_bytes) <= 6_000
    files = opening.open_data(photos).splits.values()
    every = b"".join(split.read(i) for split in files for i in range(len(split)))
    names = [packs.shard_name(i) for i in range(len(index.shards_bytes))]
    assert b"".join((tmp_path / "pack" / name).read_bytes() for name in names) == every
    same_files(opening.open_data(tmp_path / "pack"), opening.open_data(photos))


def test_an_image_longer_than_a_shard_has_one_of_its_own(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_SHARD_BYTES", 1)
    index = pack(photos, tmp_path / "pack")
    assert len(index.shards_bytes) == IMAGES
    same_files(opening.open_data(tmp_path / "pack"), opening.open_data(photos))


@pytest.mark.parametrize("cores", [1, 3, 64])
def test_the_bytes_do_not_depend_on_the_number_of_threads(
    photos, tmp_path, monkeypatch, small_shards, cores
):
    pack(photos, tmp_path / "expected", shorter_px=64)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    pack(photos, tmp_path / "pack", shorter_px=64)
    assert contents(tmp_path / "pack") == contents(tmp_path / "expected")


class StoppedError(Exception):
    """What a test stops packing with."""


def stopped(photos, out, monkeypatch, after, **settings):
    """Leave a pack as it is when it stops before the image of that number."""
    add, left = packing._Writer.add, iter(range(after))

    def counted(writer, made):
        if next(left, None) is None:
            raise StoppedError
        add(writer, made)

    with monkeypatch.context() as patch:
        patch.setattr(packing._Writer, "add", counted)
        with pytest.raises(StoppedError):
            pack(photos, out, **settings)
    return out


@pytest.mark.parametrize("after", range(IMAGES))
def test_packing_that_was_stopped_continues_to_the_same_bytes(
    photos, tmp_path, monkeypatch, small_shards, after
):
    pack(photos, tmp_path / "expected")
    out = stopped(photos, tmp_path / "pack", monkeypatch, after)
    with pytest.raises(DataError, match=r"packing was not finished; the same `resnets data pack`"):
        opening.open_data(out)
    pack(photos, out)
    assert contents(out) == contents(tmp_path / "expected")


def test_what_is_packed_is_not_read_again(photos, tmp_path, monkeypatch, small_shards):
    out = stopped(photos, tmp_path / "pack", monkeypatch, 6)
    read, decode = [], images.decode

    def noted(content, name):
        read.append(name)
        return decode(content, name)

    monkeypatch.setattr(images, "decode", noted)
    pack(photos, out)
    assert 1 <= len(read) <= 3


def test_half_written_tails_and_shards_of_which_the_journal_knows_nothing_go(
    photos, tmp_path, monkeypatch, small_shards
):
    pack(photos, tmp_path / "expected")
    out = stopped(photos, tmp_path / "pack", monkeypatch, 3)
    with (out / packs.shard_name(0)).open("ab") as file:
        file.write(b"a tail")
    for number in (1, 7):
        (out / packs.shard_name(number)).write_bytes(b"never told of")
    with (out / packs.JOURNAL).open("ab") as file:
        file.write(b'{"seen": 5, "shard": 0, "ima')
    pack(photos, out)
    assert contents(out) == contents(tmp_path / "expected")


@pytest.mark.parametrize("lost", ["all", "half"])
def test_lines_of_the_journal_whose_images_did_not_come_to_the_disk_do_not_count(
    photos, tmp_path, monkeypatch, small_shards, lost
):
    pack(photos, tmp_path / "expected")
    out = stopped(photos, tmp_path / "pack", monkeypatch, IMAGES - 1)
    shard = out / packs.shard_name(1)
    if lost == "all":
        shard.unlink()
    else:
        os.truncate(shard, shard.stat().st_size // 2)
    pack(photos, out)
    assert contents(out) == contents(tmp_path / "expected")


def test_a_finished_pack_is_left_as_it_is(photos, tmp_path, capfd):
    first = pack(photos, tmp_path / "pack")
    before = contents(tmp_path / "pack")
    (tmp_path / "pack" / packs.JOURNAL).write_text("left by a kill just before the end\n")
    second = pack(photos, tmp_path / "pack")
    assert "this pack is finished; nothing was done" in capfd.readouterr().err
    assert contents(tmp_path / "pack") == before
    assert first.names == second.names


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_or_data_are_refused_with_the_difference(
    photos, tmp_path, monkeypatch, finished
):
    out = tmp_path / "pack"
    put(tmp_path / "others", {"cat/a.jpg": samples.jpeg(0)})
    if finished:
        pack(photos, out, shorter_px=64)
    else:
        stopped(photos, out, monkeypatch, 3, shorter_px=64)
    before = contents(out)
    for given, difference in (
        ({}, "a pack with --shorter-px 64 --quality 90, not without --shorter-px"),
        ({"shorter_px": 32}, "64 --quality 90, not with --shorter-px 32 --quality 90"),
        ({"shorter_px": 64, "quality": 50}, "64 --quality 90, not with --shorter-px 64 .* 50"),
    ):
        with pytest.raises(DataError, match=difference):
            pack(photos, out, **given)
    with pytest.raises(DataError, match=r"of other data \(photos .{12}, here others .{12}\)"):
        pack(tmp_path / "others", out, shorter_px=64)
    assert contents(out) == before


@pytest.mark.parametrize(
    "line",
    [
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b'{"pack_format": 1, "origin": 3}\n',
        b'{"pack_format": 1, "origin": {"name": 1, "digest": "", "content": null}}\n',
    ],
)
def test_a_journal_that_somebody_wrote_in_is_refused(photos, tmp_path, line):
    put(tmp_path / "pack", {packs.JOURNAL: line})
    with pytest.raises(DataError, match=r"packing\.jsonl: damaged; remove .*pack and pack again"):
        pack(photos, tmp_path / "pack")


@pytest.mark.parametrize(
    "line", [b"{}", b'{"images": 3}', b'{"images": [1]}', b'{"images": [[0, 0, 1, "x"]]}']
)
def test_the_same_in_a_later_line(photos, tmp_path, monkeypatch, line):
    out = stopped(photos, tmp_path / "pack", monkeypatch, 3)
    with (out / packs.JOURNAL).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(DataError, match=r"packing\.jsonl: damaged; remove"):
        pack(photos, out)


def test_a_pack_that_another_version_began_is_refused(photos, tmp_path):
    put(tmp_path / "pack", {packs.JOURNAL: b'{"pack_format": 3}\n'})
    with pytest.raises(DataError, match=r"begun by another version .*\(format 3, here 1\)"):
        pack(photos, tmp_path / "pack")


def test_two_do_not_pack_into_one_folder(photos, tmp_path):
    out = tmp_path / "pack"
    with artifacts.alone(out, wait=False), pytest.raises(BusyError, match="another process"):
        pack(photos, out)
    pack(photos, out)


def test_of_two_that_begin_at_once_one_packs(photos, tmp_path):
    pack(photos, tmp_path / "expected")
    answers, both = [], threading.Barrier(2)

    def begin():
        both.wait()
        try:
            pack(photos, tmp_path / "pack")
        except BusyError as err:
            answers.append(err)

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(answers) <= 1  # none where one had ended before the other began
    assert contents(tmp_path / "pack") == contents(tmp_path / "expected")


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(photos, tmp_path):
    put(tmp_path / "full", {"thesis.txt": b"years of work"})
    put(tmp_path, {"file": b"a file"})
    for name in ("full", "file"):
        with pytest.raises(DataError, match="not empty, and not a pack; name a new folder"):
            pack(photos, tmp_path / name)
    assert contents(tmp_path / "full") == {"thesis.txt": b"years of work"}


def test_a_folder_where_packing_was_killed_at_its_very_beginning_is_taken(photos, tmp_path):
    put(tmp_path / "pack", {".packing.jsonl.partial": b"{", artifacts.LOCK: b""})
    pack(photos, tmp_path / "pack")
    same_files(opening.open_data(tmp_path / "pack"), opening.open_data(photos))


def test_a_folder_inside_the_data_is_refused(photos):
    for out in (photos, photos / "packed", photos / "train" / ".." / "packed"):
        with pytest.raises(DataError, match="lies inside the data"):
            pack(photos, out)
    assert sorted(path.name for path in photos.iterdir()) == ["train", "val"]


def test_images_in_memory_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"^synthetic: lies in memory and needs no packing"):
        pack("synthetic", tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"shorter_px": 0}, "--shorter-px: a number of pixels, at least 1, got 0"),
        ({"shorter_px": 8, "quality": 0}, "--quality: from 1 to 100, got 0"),
        ({"shorter_px": 8, "quality": 101}, "--quality: from 1 to 100, got 101"),
    ],
)
def test_settings_out_of_range_are_refused(photos, tmp_path, given, told):
    with pytest.raises(DataError, match=told):
        pack(photos, tmp_path / "pack", **given)
    assert not (tmp_path / "pack").exists()


def test_a_quality_of_nothing_is_refused(photos, tmp_path):
    with pytest.raises(DataError, match=r"--quality: .* --shorter-px is missing"):
        listing.pack(str(photos), tmp_path / "pack", None, 80, whole=False)


def test_an_image_too_long_for_a_jpeg_is_left_out(photos, tmp_path, monkeypatch):
    resize = packs.Resize(1, 90)
    longest = packing._encoded(Image.new("RGB", (65_500, 1)), resize, "a")
    with Image.open(io.BytesIO(longest)) as image:
        assert image.size == (65_500, 1)
    with pytest.raises(DataError, match=r"^a: 65501 x 1 pixels are too long for a JPEG"):
        packing._encoded(Image.new("RGB", (65_501, 1)), resize, "a")
    monkeypatch.setattr(packing, "_LONGEST_JPEG_PX", 90)
    left_out = pack(photos, tmp_path / "pack", shorter_px=64).left_out
    assert {each.why.rpartition(" pixels ")[2] for each in left_out} == {"are too long for a JPEG"}


@contextlib.contextmanager
def largest_file(size_bytes):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
@pytest.mark.parametrize("allowed_bytes", [100, 1_000, 5_000])
def test_a_disk_that_is_full_costs_one_line_and_packing_continues(
    photos, tmp_path, small_shards, allowed_bytes
):
    pack(photos, tmp_path / "expected")
    out = tmp_path / "pack"
    with largest_file(allowed_bytes), pytest.raises(StorageError, match=r"cannot write .*again"):
        pack(photos, out)
    pack(photos, out)
    assert contents(out) == contents(tmp_path / "expected")

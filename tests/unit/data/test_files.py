import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import ImageError
from resnets.data import opening, sets
from resnets.data.examining import Bad, Good
from resnets.data.files import FileData, ImageFiles
from resnets.data.sets import ImageSet


def png(seed):
    made = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def data(**splits):
    """Give each split as a list of (content, label)."""
    made = {}
    for name, rows in splits.items():
        names = tuple(f"{i}.png" for i in range(len(rows)))
        labels_n = torch.tensor([label for _, label in rows])
        made[name] = ImageFiles(names, labels_n, lambda i, rows=rows: rows[i][0])
    return FileData("a", "/a", None, made)


def test_a_check_counts_images_classes_unreadable_and_repeated_files():
    whole = data(
        train=[(png(0), 0), (png(1), 3), (png(0), 0)],
        validation=[(png(1), 3), (png(2)[:-40], 5), (b"", 5), (png(3), 0)],
    )
    assert whole.check().summary() == {
        "data": "a",
        "train_images": 3,
        "validation_images": 4,
        "classes": 3,
        "unreadable_images": 2,
        "repeated_images": 2,
        "digest": whole.digest,
    }


def test_an_image_is_examined_by_its_index_under_its_name():
    files = data(train=[(png(0), 0), (b"GIF", 0)]).splits["train"]
    assert isinstance(files.examine(0), Good)
    assert files.examine(1) == Bad(
        "not-an-image", "1.png: not an image of a format that can be read"
    )


def test_every_unreadable_file_is_found_and_none_is_a_repetition(capfd):
    # Two broken downloads of the same bytes are no image twice.
    found = data(validation=[(bytes([i]), 0) for i in range(200)] * 2).check()
    assert (found.unreadable_images, found.repeated_images) == (400, 0)
    assert len(found.cases("not-an-image")) == 400
    assert capfd.readouterr().err == ""


def test_a_file_that_cannot_be_read_is_unreadable_and_the_rest_is_checked(tmp_path):
    (tmp_path / "labels.csv").write_text("file,class_index\na.png,1\nb.png,1\n")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(0))
    opened = opening.open_data(tmp_path)
    (tmp_path / "a.png").unlink()
    found = opened.check()
    assert (found.unreadable_images, found.repeated_images) == (1, 0)
    (case,) = found.cases("cannot-be-read")
    assert "a.png: cannot be read" in case.why


@pytest.mark.parametrize("other", [[("a.png", 1)], [("b.png", 0)]])
def test_the_digest_tells_names_labels_and_splits_apart(other):
    def named(split, rows):
        names, labels = zip(*rows, strict=True)
        files = ImageFiles(names, torch.tensor(labels), lambda _: b"")
        return FileData("a", "/a", None, {split: files}).digest

    assert named("train", [("a.png", 0)]) == named("train", [("a.png", 0)])
    assert named("train", [("a.png", 0)]) != named("train", other)
    assert named("train", [("a.png", 0)]) != named("validation", [("a.png", 0)])


def test_the_digest_is_over_the_bytes_of_names_that_are_no_text():
    def named(name):
        files = ImageFiles((name,), torch.tensor([0]), lambda _: b"")
        return FileData("a", "/a", None, {"train": files}).digest

    assert named("caf\udce9.png") == hashlib.sha256(b"train\tcaf\xe9.png\t0\n").hexdigest()
    assert named("café.png") == hashlib.sha256("train\tcafé.png\t0\n".encode()).hexdigest()


def test_some_of_the_files_are_those_of_these_indices_in_their_order():
    files = data(train=[(png(i), i) for i in range(5)]).splits["train"]
    some = files.take(torch.tensor([4, 0, 2]))
    assert some.names == ("4.png", "0.png", "2.png")
    assert some.labels_n.tolist() == [4, 0, 2]
    assert [some.read(i) for i in range(3)] == [png(4), png(0), png(2)]
    fewer = some.take(torch.tensor([1, 0]))
    assert (fewer.names, fewer.read(1)) == (("0.png", "4.png"), png(4))


def test_what_is_held_out_of_files_is_what_is_held_out_of_as_many_images_in_memory():
    files = data(train=[(png(i), i) for i in range(9)]).splits["train"]
    left, held = sets.hold_out(files, 3)
    memory = ImageSet(torch.zeros(9, 1, 1, 3, dtype=torch.uint8), torch.arange(9))
    for some, same in zip((left, held), sets.hold_out(memory, 3), strict=True):
        assert some.labels_n.tolist() == same.labels_n.tolist()
        assert [some.read(i) for i in range(len(some))] == [png(i) for i in some.labels_n.tolist()]


def test_an_image_is_decoded_by_its_index_and_a_damaged_one_is_named():
    files = data(train=[(png(0), 0), (b"", 0)]).splits["train"]
    assert files.image(0).size == (5, 6)
    with pytest.raises(ImageError, match=r"^1\.png: not an image"):
        files.image(1)


def test_without_names_the_classes_are_the_indices_up_to_the_highest_of_any_split():
    whole = data(train=[(png(0), 0)], validation=[(png(1), 3)])
    assert whole.class_names == ("0", "1", "2", "3")
    assert replace(whole, classes=("a", "b", "c", "d", "e")).class_names == (*"abcde",)

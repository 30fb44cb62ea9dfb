"""What `resnets data check` prints of folders with something wrong in them, and its status."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import resnets


def photo(seed):
    made = io.BytesIO()
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((240, 230)).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture
def photos(tmp_path):
    """Two classes of two images and an empty one; a copy of a training image in val."""
    seed = iter(range(100))
    for split in ("train", "val"):
        for name in ("cat", "dog", "owl"):
            (tmp_path / "my photos" / split / name).mkdir(parents=True)
        for name in ("cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg"):
            (tmp_path / "my photos" / split / name).write_bytes(photo(next(seed)))
    (tmp_path / "my photos" / "val" / "cat" / "copy.jpg").write_bytes(photo(0))
    return tmp_path / "my photos"


def test_findings_are_a_table_and_status_0(photos, ask):
    (photos / "train" / "dog" / "1.jpg").write_bytes(photo(3)[:500])
    answer = ask("data", "check", photos)
    assert (answer.status, answer.err) == (0, "")
    assert "train: cat/0.jpg = validation: cat/copy.jpg\n" in answer.out
    assert "error    1 image cut off before the end: set aside in training" in answer.out
    assert "warning  1 class without images" in answer.out
    assert answer.out.endswith(
        "It can be trained on; correct the errors first; every name: "
        f"resnets data check '{photos}' --json\n"
    )


def test_the_facade_gives_the_same_report(photos, ask):
    report = resnets.open_data(photos).check()
    assert ask("data", "check", photos).out == f"{report!r}\n"
    assert json.loads(ask("data", "check", photos, "--json").out) == report.to_dict()


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_what_cannot_be_trained_on_is_status_2_after_its_table(photos, ask, words):
    for path in (photos / "val").rglob("*.jpg"):
        path.write_bytes(b"")
    answer = ask("data", "check", photos, *words)
    assert answer.status == 2
    assert answer.err == "resnets: my photos: none of the 5 validation images can be read\n"
    if words:
        assert json.loads(answer.out)["trainable"] is False
    else:
        assert "error    5 images without a byte" in answer.out
        assert "It cannot be trained on: none of the 5 validation images" in answer.out


def test_where_no_class_has_images_there_is_nothing_to_check(photos, ask):
    for path in (photos / "val").rglob("*.jpg"):
        path.unlink()
    answer = ask("data", "check", photos)
    assert answer.status == 2
    assert answer.out == ""
    assert "no image in class folders cat, dog, owl" in answer.err

import io

import numpy as np
import pytest
from PIL import Image

from resnets.data import alike, examining
from resnets.data.alike import Codes


def photo(seed, width=300, height=260):
    """Clouds of many sizes, as photographs have them."""
    draw = np.random.default_rng(seed)
    layers = [
        Image.fromarray(draw.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize((width, height))
        for n in (3, 6, 12, 40)
    ]
    weights = (0.4, 0.3, 0.2, 0.1)
    mixed = sum(w * np.asarray(layer, float) for w, layer in zip(weights, layers, strict=True))
    return Image.fromarray(mixed.astype(np.uint8))


def saved(image, quality):
    made = io.BytesIO()
    image.save(made, "JPEG", quality=quality)
    return Image.open(io.BytesIO(made.getvalue()))


def codes(images):
    thumbs = np.stack([examining.pixels(np.asarray(each)).thumb_hw for each in images])
    made = Codes.empty(len(thumbs))
    made.put(np.arange(len(thumbs)), thumbs)
    return made


def found(images):
    return alike.groups(codes(images), np.arange(len(images)))


AGAIN = {
    "saved in full": lambda image: image,
    "saved at quality 50": lambda image: saved(image, 50),
    "halved": lambda image: saved(image.resize((150, 130)), 85),
    "in grey": lambda image: image.convert("L").convert("RGB"),
    "with other proportions": lambda image: image.resize((200, 200)),
}


@pytest.mark.parametrize("how", AGAIN)
def test_pictures_that_were_saved_again_are_found_and_no_others(how):
    originals = [photo(seed) for seed in range(12)]
    again = [AGAIN[how](image) for image in originals]
    assert found(originals + again) == [[i, i + 12] for i in range(12)]


OTHER = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop((60, 50, 300, 260)),
    "darker": lambda image: image.point(lambda level: level // 2),
}


@pytest.mark.parametrize("how", OTHER)
def test_a_changed_picture_is_another(how):
    originals = [photo(seed) for seed in range(6)]
    assert found([*originals, *map(OTHER[how], originals)]) == []


def test_pictures_without_contrast_are_not_compared():
    plain = [np.full((40, 40, 3), level, np.uint8) for level in (0, 0, 128, 255)]
    assert found(plain) == []


def test_a_group_has_every_picture_that_is_like_another_of_it_and_ascends():
    first, second = photo(0), photo(1)
    images = [second, first, saved(second, 60), saved(first, 90), first, photo(2)]
    assert found(images) == [[0, 2], [1, 3, 4]]


def test_only_the_images_asked_for_are_compared():
    same = codes([photo(0)] * 5)
    assert alike.groups(same, np.array([1, 4])) == [[1, 4]]
    assert alike.groups(same, np.array([3])) == []
    assert alike.groups(same, np.array([], np.int64)) == []


def test_many_of_the_same_are_one_group_without_comparing_each_with_each():
    many = Codes(
        np.full(3000, 5, np.uint64),
        np.tile(np.arange(4, dtype=np.uint8), (3000, 1)),
        np.tile(np.arange(0, 128, 2, dtype=np.uint8), (3000, 1)),
    )
    assert alike.groups(many, np.arange(3000)) == [list(range(3000))]


def test_bits_far_from_the_median_must_agree_and_the_nearest_need_not():
    made = codes([photo(0)] * 3)
    nearest = int(made.unsure_nu[0, 0])
    farther = next(bit for bit in range(63) if bit not in made.unsure_nu[0])
    made.code_n[1] ^= np.uint64(1) << np.uint64(nearest)
    made.code_n[2] ^= np.uint64(1) << np.uint64(farther)
    assert alike.groups(made, np.arange(3)) == [[0, 1]]


def test_pictures_of_one_code_that_differ_in_brightness_somewhere_are_two():
    made = codes([photo(0)] * 3)
    made.parts_np[1, 17] += 12
    made.parts_np[2, 17] += 26
    assert alike.groups(made, np.arange(3)) == [[0, 1]]

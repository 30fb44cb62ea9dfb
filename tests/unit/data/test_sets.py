import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import sets
from resnets.data.sets import DataSet, ImageSet


def numbered(images, first=0):
    """Images whose only pixel and whose label say which they are."""
    number_n = torch.arange(first, first + images)
    return ImageSet(number_n.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 1, 3), number_n)


def copy(images):
    return ImageSet(images.images_nhwc.clone(), images.labels_n.clone())


def noise(images, seed=0):
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 4, 5, 3), generator=draw, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(images) % 3)


def test_the_content_hash_is_of_the_content_and_not_of_the_object_or_its_memory_order():
    train, test = noise(4), noise(2, seed=1)
    other = ImageSet(
        train.images_nhwc.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), train.labels_n
    )
    assert other.images_nhwc.stride() != train.images_nhwc.stride()
    assert sets.content_hash(other, copy(test)) == sets.content_hash(train, test)
    assert DataSet("a", "b", ("x", "y", "z"), train, test).digest == sets.content_hash(train, test)


def test_the_content_hash_changes_with_any_pixel_and_any_label():
    train, test = noise(3), noise(2, seed=1)
    found = {sets.content_hash(train, test)}
    changes = 0
    for number, split in enumerate((train, test)):
        for place in range(split.images_nhwc.numel()):
            changed = copy(split)
            changed.images_nhwc.reshape(-1)[place] += 1
            found.add(sets.content_hash(*((changed, test) if number == 0 else (train, changed))))
            changes += 1
        for place in range(len(split)):
            changed = copy(split)
            changed.labels_n[place] += 1
            found.add(sets.content_hash(*((changed, test) if number == 0 else (train, changed))))
            changes += 1
    assert changes == 5 * (4 * 5 * 3 + 1)
    assert len(found) == 1 + changes


def test_the_content_hash_changes_when_images_change_places_or_splits():
    train, test = noise(3), noise(3, seed=1)
    swapped = train.take(torch.tensor([1, 0, 2]))
    found = {
        sets.content_hash(train, test),
        sets.content_hash(swapped, test),
        sets.content_hash(test, train),
    }
    assert len(found) == 3


def test_the_content_hash_knows_more_than_256_classes():
    train = noise(2)
    moved = ImageSet(train.images_nhwc, train.labels_n + 256)
    assert sets.content_hash(train) != sets.content_hash(moved)


def test_taking_images_keeps_image_and_label_together_in_the_order_asked_for():
    taken = numbered(10).take(torch.tensor([7, 0, 7]))
    assert len(taken) == 3
    assert taken.labels_n.tolist() == [7, 0, 7]
    assert taken.images_nhwc[:, 0, 0, 0].tolist() == [7, 0, 7]


@pytest.mark.parametrize("held_out", [1, 30, 99])
def test_holding_out_splits_a_set_in_two_without_losing_or_repeating_an_image(held_out):
    whole = numbered(100)
    train, validation = sets.hold_out(whole, held_out)
    assert len(validation) == held_out
    assert len(train) == 100 - held_out
    both = torch.cat([train.labels_n, validation.labels_n])
    assert both.sort().values.tolist() == list(range(100))
    for part in (train, validation):
        assert part.images_nhwc[:, 0, 0, 0].tolist() == part.labels_n.tolist()
        assert part.labels_n.tolist() == sorted(part.labels_n.tolist())


def test_the_same_images_are_held_out_whatever_was_seeded_before():
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            found.append(sets.hold_out(numbered(100), 20)[1].labels_n.tolist())
    assert found[0] == found[1]


def test_holding_out_more_images_keeps_those_held_out_already():
    few, many = (set(sets.hold_out(numbered(100), n)[1].labels_n.tolist()) for n in (10, 20))
    assert few < many


@pytest.mark.parametrize("held_out", [-1, 0, 10, 11])
def test_holding_out_all_none_or_a_negative_number_is_refused(held_out):
    with pytest.raises(DataError, match=rf"from 1 to 9 here, got {held_out}$"):
        sets.hold_out(numbered(10), held_out)


def test_checking_counts_images_classes_with_images_and_repeated_images_over_both_splits():
    train, test = numbered(6), numbered(4, first=4)  # 4 and 5 stand in both
    twice = train.take(torch.tensor([0, 1, 2, 3, 4, 5, 0, 0]))
    whole = DataSet("a", "b", (*"0123456789",), twice, test)
    assert whole.check().summary() == {
        "data": "a",
        "train_images": 8,
        "test_images": 4,
        "classes": 8,
        "unreadable_images": 0,
        "repeated_images": 4,
        "digest": whole.digest,
    }

import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import stratified
from resnets.data.files import ImageFiles


def files(*counts):
    """So many images of each class, whose content is their name."""
    names = tuple(f"{label}/{i}.png" for label, n in enumerate(counts) for i in range(n))
    labels_n = torch.tensor([int(name[0]) for name in names], dtype=torch.int64)
    return ImageFiles(names, labels_n, lambda i: names[i].encode())


def test_each_class_gives_its_share_and_each_image_is_on_one_side_with_its_label():
    whole = files(100, 10, 0, 30)
    train, validation = stratified.split(whole, 0.2)
    assert validation.labels_n.bincount().tolist() == [20, 2, 0, 6]
    assert train.labels_n.bincount().tolist() == [80, 8, 0, 24]
    assert sorted(train.names + validation.names) == sorted(whole.names)
    for part in (train, validation):
        for i, name in enumerate(part.names):
            assert part.read(i) == name.encode()
            assert part.labels_n[i] == int(name[0])
    assert list(validation.names) == [name for name in whole.names if name in validation.names]


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(2, 0.01, 1), (2, 0.99, 1), (3, 0.5, 2), (10, 0.25, 3), (10, 0.24, 2), (1, 0.5, 0)],
)
def test_shares_are_rounded_but_one_is_held_out_and_one_stays(count, share, held):
    whole = files(count, 5)
    chosen = stratified.held_out(whole.names, whole.labels_n, share)
    assert chosen.dtype == torch.int64
    assert int((whole.labels_n[chosen] == 0).sum()) == held


def test_the_choice_is_not_the_first_files_and_another_seed_makes_another():
    names, labels_n = files(200).names, torch.zeros(200)
    chosen = stratified.held_out(names, labels_n, 0.5)
    other = stratified.held_out(names, labels_n, 0.5, seed=1)
    assert 30 < int((chosen < 100).sum()) < 70
    assert 30 < len(set(chosen.tolist()) & set(other.tolist())) < 70


def test_the_same_images_are_held_out_in_every_version():
    """These are written down in no run, only chosen again: a change here breaks `evaluate`."""
    chosen = stratified.held_out(files(8, 8).names, files(8, 8).labels_n, 0.25)
    assert chosen.tolist() == [1, 4, 10, 14]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(DataError, match="above 0 and below 1, got"):
        stratified.split(files(4), share)


def test_where_no_class_has_two_images_none_can_be_held_out():
    with pytest.raises(DataError, match="no class of these 3 images has two"):
        stratified.split(files(1, 1, 1), 0.5)

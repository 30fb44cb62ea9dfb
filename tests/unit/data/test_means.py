import numpy as np
import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import means, preprocess
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.data.setting_aside import SettingAside

WANTED = Preprocess(resize_px=10, crop_px=8, mean=None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "resnets"


def by_hand(files, wanted=WANTED):
    squares = [preprocess.central(files.image(i), wanted) for i in range(len(files))]
    return (np.stack(squares).astype(np.float64).mean(0) / 255).astype(np.float32)


@pytest.mark.parametrize("at_once", [3, 256])
def test_the_mean_is_that_of_every_pixel_of_the_central_squares(shelf, monkeypatch, at_once):
    monkeypatch.setattr(means, "_AT_ONCE", at_once)
    files = shelf(18).files()
    found = means.central(files, WANTED)
    assert (found.dtype, found.shape) == (torch.float32, (8, 8, 3))
    assert np.array_equal(found.numpy(), by_hand(files))


def counting(shelf_, wanted=WANTED):
    """Return the mean and how many times it had to read an image to get it."""
    shelf_.read.clear()
    return means.central(shelf_.files(), wanted), len(shelf_.read)


def test_the_mean_is_counted_once_and_kept(shelf, monkeypatch):
    monkeypatch.setattr(means, "_SAMPLED", 2)
    images = shelf(18)
    first, read = counting(images)
    assert read == 18 + 2
    again, read = counting(images)
    assert read == 2
    assert torch.equal(again, first)


def test_a_mean_is_kept_for_its_names_labels_contents_and_size(shelf, cache):
    images = shelf(18)
    first, _ = counting(images)
    other = shelf(18)
    other.contents.reverse()
    other.contents[0] = other.contents[1]
    assert not torch.equal(counting(other)[0], first)
    assert not torch.equal(
        counting(images, Preprocess(resize_px=12, crop_px=8, mean=None))[0], first
    )
    assert counting(images, Preprocess(resize_px=10, crop_px=7, mean=None))[0].shape == (7, 7, 3)
    files = images.files()
    means.central(files.take(torch.arange(17, -1, -1)), WANTED)
    assert len(list(cache.iterdir())) == 5


def test_a_damaged_mean_is_counted_again_to_the_same_bits(shelf, cache):
    images = shelf(18)
    first, _ = counting(images)
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    again, read = counting(images)
    assert read >= 2 * 18
    assert torch.equal(again, first)
    assert counting(images)[1] == 18


def test_where_the_cache_cannot_be_written_the_mean_is_counted_all_the_same(shelf, cache):
    cache.parent.write_text("a file in the place of the folder")
    files = shelf(18).files()
    assert np.array_equal(means.central(files, WANTED).numpy(), by_hand(files))


def test_images_that_cannot_be_decoded_are_left_out_and_nothing_is_kept(shelf, cache):
    files = shelf(18, damaged=(11, 7)).files()
    aside = SettingAside(files)
    found = means.central(files, WANTED, aside)
    good = files.take(torch.tensor([i for i in range(18) if i not in (7, 11)]))
    assert np.array_equal(found.numpy(), by_hand(good))
    assert [name for name, _ in aside.report().first] == ["n/7.png", "n/11.png"]
    assert torch.equal(means.central(files, WANTED), found)
    assert not cache.exists()


def test_more_than_training_puts_up_with_stop_it(shelf):
    with pytest.raises(DataError, match=r"11 of 18 training images cannot be read \(n/0\.png: "):
        means.central(shelf(18, damaged=range(11)).files(), WANTED)


def test_there_is_no_mean_of_no_image(shelf):
    with pytest.raises(DataError, match=r"3 of 3 training images .*; there is nothing to train on"):
        means.central(shelf(3, damaged=range(3)).files(), WANTED)


def test_a_file_that_cannot_be_read_from_its_place_is_left_out_too(shelf):
    images = shelf(18)
    files = images.files()

    def read(index):
        if index == 0:  # one of those whose content tells sets apart
            raise DataError("n/0.png: cannot be read (Input/output error)")
        return images.contents[index]

    found = means.central(ImageFiles(files.names, files.labels_n, read), WANTED)
    assert np.array_equal(found.numpy(), by_hand(files.take(torch.arange(1, 18))))

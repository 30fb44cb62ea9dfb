import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from resnets.core.errors import DataError, ImageError
from resnets.data import images
from resnets.data.files import ImageFiles
from resnets.data.setting_aside import SettingAside, tolerated


def files(count, bad=()):
    def read(index):
        return b"" if index in bad else bytes([index % 256, index // 256])

    return ImageFiles(tuple(f"c/{i}.png" for i in range(count)), torch.arange(count), read)


def number(content, name):
    if not content:
        raise ImageError(f"{name}: not an image of a format that can be read")
    return int.from_bytes(content, "little")


def test_a_good_image_is_itself_and_nothing_is_reported():
    aside = SettingAside(files(5))
    assert [aside.readable(i, number) for i in range(5)] == [(i, i, {}) for i in range(5)]
    assert aside.report().images == 0
    assert str(aside.report()) == "0 of 5 training images cannot be read"


def test_for_a_bad_image_the_next_good_one_stands_in_round_the_end():
    aside = SettingAside(files(6, bad=(1, 2, 5)))
    assert [aside.readable(i, number)[1] for i in range(6)] == [0, 3, 3, 3, 4, 0]


def test_what_was_passed_over_is_named_with_reasons_and_not_counted_before_it_is_said():
    aside = SettingAside(files(6, bad=(1, 2, 5)))
    _, _, wrong = aside.readable(1, number)
    said = {i: f"c/{i}.png: not an image of a format that can be read" for i in (1, 2)}
    assert wrong == said
    assert aside.found() == {}
    for _ in range(2):
        aside.count(wrong)
        assert aside.found() == said


def test_the_report_counts_what_was_used_and_names_the_first_with_reasons():
    aside = SettingAside(files(2000, bad=range(40, 55)))
    aside.count(aside.readable(50, number)[2])
    assert aside.report().images == 5
    aside.count(aside.readable(40, number)[2])
    found = aside.report()
    assert (found.images, found.of) == (15, 2000)
    assert [name for name, _ in found.first] == [f"c/{i}.png" for i in range(40, 50)]
    assert found.first[0][1] == "c/40.png: not an image of a format that can be read"
    assert str(found) == (
        "15 of 2,000 training images cannot be read (c/40.png: not an image of a format that can "
        "be read; c/41.png: not an image of a format that can be read; c/42.png: not an image of "
        "a format that can be read; and 12 more)"
    )
    assert found.to_dict() == {
        "set_aside_images": 15,
        "training_images": 2000,
        "first": [{"file": name, "why": why} for name, why in found.first],
    }


@pytest.mark.parametrize(
    ("count", "most"), [(1, 10), (100, 10), (1000, 10), (1099, 10), (1100, 11), (1_281_167, 12_811)]
)
def test_one_percent_may_be_bad_and_ten_always(count, most):
    assert tolerated(count) == most


def test_one_more_than_is_tolerated_stops_with_the_first_names_and_what_to_do():
    aside = SettingAside(files(200, bad=range(100, 111)))
    for index in range(109, 99, -1):
        assert aside.attempt(index, number) is None
    assert aside.readable(111, number)[1] == 111
    _, _, wrong = aside.readable(110, number)
    with pytest.raises(DataError) as caught:
        aside.count(wrong)
    message = str(caught.value)
    assert message.startswith("11 of 200 training images cannot be read (c/100.png: not an image")
    assert "and 8 more" in message
    assert "training puts up with 10" in message
    assert "`resnets data check`" in message
    assert "\n" not in message
    with pytest.raises(DataError):  # and it stays so
        aside.readable(104, number)


def test_where_no_image_is_good_there_is_no_stand_in_however_few_there_are():
    with pytest.raises(DataError, match="none of 3 training images can be read"):
        SettingAside(files(3, bad=range(3))).readable(1, number)


def test_a_file_that_cannot_be_read_from_its_place_is_set_aside_too(tmp_path):
    def read(index):
        if index == 0:
            raise DataError("/there/0.png: cannot be read (Permission denied)")
        return b"1"

    gone = ImageFiles(("0.png", "1.png"), torch.arange(2), read)
    aside = SettingAside(gone)
    told = "/there/0.png: cannot be read (Permission denied)"
    assert aside.readable(0, number) == (ord("1"), 1, {0: told})
    assert aside.attempt(0, number) is None
    assert aside.report().first == (("0.png", told),)


def test_a_mistake_of_our_own_is_not_taken_for_a_bad_image():
    def decode(content, name):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SettingAside(files(3)).readable(0, decode)


def test_any_way_of_decoding_may_be_used_and_says_itself_what_is_bad(shelf):
    some = SettingAside(shelf(4, damaged=(2,)).files())
    image, used, wrong = some.readable(2, images.decode)
    assert (image.size, used, list(wrong)) == ((15, 27), 3, [2])

    def upper_half(content, name):  # a decoder that never sees the damage of image 2
        return content[:4]

    assert some.readable(2, upper_half) == (b"no i", 2, {})


def test_threads_that_meet_bad_files_in_any_order_get_the_same_images_and_report():
    bad = (0, 1, 2, 7, 9)
    one_by_one = SettingAside(files(12, bad))
    expected = [one_by_one.readable(i, number) for i in range(12)]
    assert {i: why for _, _, wrong in expected for i, why in wrong.items()}.keys() == set(bad)
    for backwards in (False, True):
        aside, together = SettingAside(files(12, bad)), threading.Barrier(4)

        def work(i, aside=aside, together=together):
            together.wait(timeout=10)
            aside.attempt(i, number)
            return aside.readable(i, number)

        order = range(11, -1, -1) if backwards else range(12)
        with ThreadPoolExecutor(4) as pool:
            made = dict(zip(order, pool.map(work, order), strict=True))
        assert [made[i] for i in range(12)] == expected
        assert list(aside.found()) == list(bad)


def test_past_the_limit_the_message_is_the_same_whoever_meets_another_and_nobody_looks_on():
    many = files(30, bad=range(30))
    read = []
    aside = SettingAside(ImageFiles(many.names, many.labels_n, lambda i: read.append(i) or b""))
    said = set()
    for index in (0, 5, 10):
        with pytest.raises(DataError) as caught:
            aside.readable(index, number)
        said.add(str(caught.value))
    assert len(said) == 1
    assert said.pop().startswith("11 of 30 training images cannot be read")
    assert read == [*range(11), 5, 10]
    assert aside.report().images == 0


def test_past_the_limit_no_more_are_counted():
    aside = SettingAside(files(30))
    aside.count(dict.fromkeys(range(10), "bad"))
    said = set()
    for index in (15, 14, 15):
        with pytest.raises(DataError) as caught:
            aside.count({index: "bad"})
        said.add(str(caught.value))
    assert len(said) == 1
    assert aside.report().images == 11

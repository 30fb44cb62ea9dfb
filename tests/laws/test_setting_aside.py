"""Whatever files are bad and whatever was asked before, the same image stands in."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from resnets.core.errors import DataError
from resnets.data.files import ImageFiles
from resnets.data.setting_aside import SettingAside, tolerated

IMAGES = st.integers(1, 30)


@st.composite
def sets(draw):
    """Return a size, which images are bad (not too many, not all), and some indices to ask for."""
    count = draw(IMAGES)
    most = min(tolerated(count), count - 1)
    bad = draw(st.sets(st.integers(0, count - 1), max_size=most))
    asked = draw(st.lists(st.integers(0, count - 1), max_size=40))
    return count, bad, asked


def setting_aside(count, bad):
    def read(index):
        if index in bad:
            raise DataError(f"{index}: bad")
        return str(index).encode()

    names = tuple(map(str, range(count)))
    return SettingAside(ImageFiles(names, torch.arange(count), read))


def decode(content, name):
    return int(content)


@given(sets())
def test_the_stand_in_is_the_first_good_image_from_there_on_whatever_was_asked_before(made):
    count, bad, asked = made
    aside = setting_aside(count, bad)
    for index in asked:
        image, used, wrong = aside.readable(index, decode)
        assert image == used not in bad
        passed_over = [(index + k) % count for k in range((used - index) % count)]
        assert list(wrong) == passed_over
        assert bad.issuperset(passed_over)
        assert setting_aside(count, bad).readable(index, decode) == (image, used, wrong)


@given(sets())
def test_what_is_reported_are_bad_images_each_once(made):
    count, bad, asked = made
    aside = setting_aside(count, bad)
    for index in asked:
        aside.count(aside.readable(index, decode)[2])
    found = aside.report()
    assert {int(name) for name, _ in found.first} <= bad
    assert len(found.first) == min(found.images, 10)
    assert bad & set(asked) == set() or found.images > 0
    for index in range(count):
        aside.attempt(index, decode)
    assert aside.report().images == len(bad)
